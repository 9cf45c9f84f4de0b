#include "tests/fakes/fake_libcuda/script.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "tests/fakes/fake_libcuda/fake_libcuda.h"

namespace a8a::cuda {
namespace {

Uuid UuidFromHex(const std::string& hex) {
  Uuid uuid = {};
  for (std::size_t i = 0; i < uuid.bytes.size() && 2 * i + 1 < hex.size(); ++i) {
    uuid.bytes[i] = static_cast<unsigned char>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
  }
  return uuid;
}

FakeDevice ReadDevice(std::istream& words) {
  std::map<std::string, std::string> fields;
  for (std::string word; words >> word;) {
    const std::size_t equals = word.find('=');
    if (equals != std::string::npos) fields[word.substr(0, equals)] = word.substr(equals + 1);
  }
  FakeDevice device;
  device.uuid = UuidFromHex(fields["uuid"]);
  device.gpu_uuid = fields.contains("gpu_uuid") ? UuidFromHex(fields["gpu_uuid"]) : device.uuid;
  if (fields.contains("bus")) device.bus = std::stoi(fields["bus"]);
  if (fields.contains("memory")) device.memory_bytes = std::stoull(fields["memory"]);
  device.has_virtual_memory = fields["vmm"] != "0";
  device.has_descriptors = fields["descriptors"] != "0";
  return device;
}

void ReadStatement(const std::string& line, FakeScript* script) {
  std::istringstream words(line);
  std::string verb;
  words >> verb;
  if (verb == "version") words >> script->version;
  if (verb == "device") script->devices.push_back(ReadDevice(words));
  if (verb == "no_peer_access") script->peer_access = false;
  if (verb == "no_peer_atomics") script->peer_atomics = false;
  if (verb == "trace") words >> script->trace_path;
  if (verb == "fail") {
    std::string call;
    words >> call;
    words >> script->failures[call];
  }
}

std::vector<FakeDevice> DefaultDevices() {
  std::vector<FakeDevice> devices(2);
  for (std::size_t i = 0; i < devices.size(); ++i) {
    devices[i].uuid.bytes.fill(static_cast<unsigned char>(0xa0 + i));
    devices[i].gpu_uuid = devices[i].uuid;
    devices[i].bus = static_cast<int>(i) + 1;
  }
  return devices;
}

// "GPU-" and dashes apart.
std::string PlainHex(std::string text) {
  if (text.starts_with("GPU-") || text.starts_with("MIG-")) text = text.substr(4);
  std::erase(text, '-');
  return text;
}

// Entries after the first that names no device are ignored, as the driver does.
std::vector<FakeDevice> Visible(const std::vector<FakeDevice>& all, const std::string& list) {
  std::vector<FakeDevice> visible;
  std::istringstream entries(list);
  for (std::string entry; std::getline(entries, entry, ',');) {
    const auto found = std::find_if(all.begin(), all.end(), [&](const FakeDevice& device) {
      return PlainHex(entry) == UuidToHex(device.uuid) || entry == std::to_string(&device - all.data());
    });
    if (found == all.end()) break;
    visible.push_back(*found);
  }
  return visible;
}

}  // namespace

std::string UuidToHex(const Uuid& uuid) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const unsigned char byte : uuid.bytes) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

FakeScript ReadScript() {
  FakeScript script;
  const char* const path = std::getenv(kFakeScriptVariable);
  std::ifstream file(path == nullptr ? "" : path);
  for (std::string line; std::getline(file, line);) ReadStatement(line, &script);
  if (script.devices.empty()) script.devices = DefaultDevices();
  const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible != nullptr) script.devices = Visible(script.devices, visible);
  return script;
}

}  // namespace a8a::cuda
