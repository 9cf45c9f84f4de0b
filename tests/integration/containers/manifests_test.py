"""manifests_test.py DEPLOY: the files that describe containers are what their readers take, and ask for no privilege.

Kubernetes' objects are held against its own schemas, strictly: a field that is misspelt is an error. What no schema says is
checked here: no namespace of the host, nobody root but the container that makes the directory, one directory shared.
"""

import pathlib
import re
import sys

import kubernetes_validate
import yaml

KUBERNETES_VERSION = "1.30"
RUN = "/run/a8a"
OF_THE_HOST = ("hostPID", "hostIPC", "hostNetwork", "shareProcessNamespace")
NOT_IN_A_SERVICE = ("privileged", "pid", "ipc", "userns_mode", "cap_add", "devices")


def pod_spec(kubernetes_object):
    spec = kubernetes_object["spec"]
    return spec["template"]["spec"] if "template" in spec else spec


def check_container(name, container, pod_security, may_be_root):
    security = pod_security | container.get("securityContext", {})
    assert not security.get("privileged"), f"{name}: privileged"
    assert security.get("allowPrivilegeEscalation") is False, f"{name}: may gain privileges"
    assert security["capabilities"]["drop"] == ["ALL"], f"{name}: keeps capabilities"
    assert security.get("readOnlyRootFilesystem") is True, f"{name}: may write to its image"
    if not may_be_root:
        assert security.get("runAsNonRoot") is True and security["runAsUser"] > 0, f"{name}: may be root"
        assert not security["capabilities"].get("add"), f"{name}: has capabilities"
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == [RUN], f"{name}: mounts {container['volumeMounts']}"


def check_kubernetes(path):
    objects = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    assert objects, f"{path}: nothing in it"
    for one in objects:
        kubernetes_validate.validate(one, KUBERNETES_VERSION, strict=True)
        pod = pod_spec(one)
        for field in OF_THE_HOST:
            assert field not in pod, f"{path}: {field}"
        assert [volume["hostPath"]["path"] for volume in pod["volumes"]] == [RUN], f"{path}: {pod['volumes']}"
        for container in pod["containers"]:
            check_container(f"{path}: {container['name']}", container, pod.get("securityContext", {}), False)
        for container in pod.get("initContainers", []):
            check_container(f"{path}: {container['name']}", container, pod.get("securityContext", {}), True)
    return len(objects)


def instructions(path):
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [line.split(None, 1) for line in text.splitlines() if line.strip()]


def check_dockerfile(path):
    lines = instructions(path)
    stages = [i for i, (word, _) in enumerate(lines) if word == "FROM"]
    assert len(stages) >= 2, f"{path}: one stage"
    last = lines[stages[-1]:]
    users = [rest for word, rest in last if word == "USER"]
    uid = re.search(r"ARG A8A_UID=(\d+)", path.read_text(encoding="utf-8"))[1]
    assert users == [f"{uid}:{uid}"] and int(uid) > 0, f"{path}: the last stage runs as {users}"
    installed = re.findall(r"[\w.+/*-]+", " ".join(rest for word, rest in last if word == "RUN"))
    for word in installed:
        assert not re.search(r"^(g\+\+|gcc|clang|cmake|make|ninja-build)|-dev(_|$)", word), f"{path}: {word} in the last stage"
    for word in ("a8a-daemon", "a8a-tools", "liba8a1"):
        assert any(word in each for each in installed), f"{path}: no {word} in the last stage"
    return uid


def check_compose(path):
    services = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
    assert set(services) == {"daemon", "worker"}, f"{path}: {list(services)}"
    for name, service in services.items():
        for field in NOT_IN_A_SERVICE:
            assert field not in service, f"{path}: {name} has {field}"
        assert service["cap_drop"] == ["ALL"] and service["read_only"], f"{path}: {name} is not confined"
        assert service["volumes"] == [f"run:{RUN}"], f"{path}: {name} mounts {service['volumes']}"


def main():
    deploy = pathlib.Path(sys.argv[1])
    count = sum(check_kubernetes(path) for path in sorted((deploy / "kubernetes").glob("*.yaml")))
    uid = check_dockerfile(deploy / "container/Dockerfile")
    check_compose(deploy / "container/compose.yaml")
    daemon = pod_spec(yaml.safe_load((deploy / "kubernetes/daemonset.yaml").read_text(encoding="utf-8")))
    worker = pod_spec(yaml.safe_load((deploy / "kubernetes/worker.yaml").read_text(encoding="utf-8")))
    owner = daemon["containers"][0]["securityContext"]["runAsUser"]
    assert str(owner) == uid, f"the daemon's uid is {owner}, the image's {uid}"
    assert owner in worker["securityContext"]["supplementalGroups"], "the worker is not in the daemon's group"
    print(f"{count} objects of Kubernetes {KUBERNETES_VERSION}, a Dockerfile and a compose file are as they should be")


main()
