// Marks what the shared library exports; everything else is hidden.
#ifndef A8A_EXPORT_H_
#define A8A_EXPORT_H_

#define A8A_EXPORT __attribute__((visibility("default")))

#endif  // A8A_EXPORT_H_
