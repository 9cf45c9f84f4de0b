# Tests of the process around the core (daemon/*.cc), without a daemon process.
find_package(nlohmann_json CONFIG REQUIRED)
a8a_add_test(daemon_server_test
  SOURCES server_access_test.cc server_config_file_test.cc server_connection_registry_test.cc server_executor_test.cc
          server_exiting_process_test.cc
          server_fd_server_test.cc server_log_test.cc server_metrics_test.cc server_options_test.cc server_proto_convert_test.cc
          server_passed_sockets_test.cc server_runtime_dir_test.cc server_settings_test.cc server_state_file_test.cc server_status_convert_test.cc
  LIBS a8a_fakes a8a::daemon_server a8a_test_support nlohmann_json::nlohmann_json)
