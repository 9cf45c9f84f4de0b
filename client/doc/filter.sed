# For Doxygen: the comments of the public headers as those that it reads. Examples are indented by three spaces, as in any comment
# of this project, and code to Markdown by four.

# The comment that a header begins with is the file's.
1s|^// |/// @file\n/// |
1s|^/\* |/** @file\n * |

# Lines of their own.
s|^( *)//   |\1///       |
s|^( *)// |\1/// |
s|^( *)//$|\1///|
s|^( *)/\* |\1/** |
s|^ \*   | *       |

# Behind what they are about.
s|([;,{0-9]) +// (.*)$|\1  ///< \2|
s|([;,0-9]) +/\* (.*) \*/$|\1  /**< \2 */|
