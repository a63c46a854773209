"""Operating system, model of the machine, and whether it is a virtual machine or a container."""

from __future__ import annotations

import re

from profiles.device import Platform
from profiles.ledger import Ledger
from profiles.machine import Machine
from profiles.probes.apple import sysctl

DMI = "/sys/class/dmi/id"
# Vendor or product words in the firmware's tables -> hypervisor
_HYPERVISORS = (
    ("vmware", "vmware"),
    ("virtualbox", "virtualbox"),
    ("innotek", "virtualbox"),
    ("microsoft corporation virtual machine", "hyper-v"),
    ("amazon ec2", "kvm"),
    ("google compute engine", "kvm"),
    ("kvm", "kvm"),
    ("qemu", "kvm"),
    ("openstack", "kvm"),
    ("parallels", "parallels"),
    ("xen", "xen"),
    ("firecracker", "kvm"),
)
_CONTAINERS = (
    ("kubepods", "kubernetes"),
    ("docker", "docker"),
    ("libpod", "podman"),
    ("containerd", "containerd"),
    ("lxc", "lxc"),
)


def android_properties(machine: Machine) -> dict[str, str]:
    """Android's system properties by name: `getprop`, or build.prop where it may be read."""
    text = machine.run("getprop") or ""
    properties = dict(re.findall(r"^\[([^\]\n]+)\]: \[(.*)\]$", text, re.MULTILINE))
    for path in () if properties else ("/system/build.prop", "/vendor/build.prop"):
        properties.update(re.findall(r"^([\w.]+)=(.*)$", machine.read(path) or "", re.MULTILINE))
    return properties


def probe_platform(machine: Machine, ledger: Ledger) -> Platform:
    """System, release, model, virtual machine and container; "none" only where that is known."""
    release, release_source = _release(machine)
    model, model_source = _model(machine)
    if release is None:
        ledger.note("release", "the system does not tell its release")
    if model is None:
        ledger.note("machine_model", "neither the firmware nor a device tree names this machine")
    virtual, virtual_source = _virtual_machine(machine)
    if virtual is None:
        ledger.note("virtual_machine", "no sign of a hypervisor, and no proof of none")
    container, container_source = _container(machine)
    if container is None:
        ledger.note("container", "no sign of a container, and no proof of none")
    return Platform(
        system=ledger.fact("system", machine.system, "the running system"),
        release=ledger.fact("release", release, release_source),
        machine_model=ledger.fact("machine_model", model, model_source),
        virtual_machine=ledger.fact("virtual_machine", virtual, virtual_source),
        container=ledger.fact("container", container, container_source),
    )


def _release(machine: Machine) -> tuple[str | None, str]:
    if machine.system == "android":
        return android_properties(machine).get("ro.build.version.release"), "ro.build.version.release"
    if machine.system == "darwin":
        return sysctl(machine).get("kern.osproductversion"), "sysctl kern.osproductversion"
    if machine.system == "linux":
        saved = machine.read("/proc/sys/kernel/osrelease")
        if saved or not machine.is_local:
            return saved, "/proc/sys/kernel/osrelease"
    import platform

    return platform.release() or None, "platform.release"


def _model(machine: Machine) -> tuple[str | None, str]:
    if machine.system == "android":
        properties = android_properties(machine)
        maker, model = properties.get("ro.product.manufacturer", ""), properties.get("ro.product.model")
        if not model:
            return None, ""
        named = model if model.lower().startswith(maker.lower()) else f"{maker} {model}"
        return properties.get("ro.product.marketname") or named, "getprop ro.product"
    if machine.system == "darwin":
        return sysctl(machine).get("hw.model"), "sysctl hw.model"
    for path in ("/proc/device-tree/model", "/sys/firmware/devicetree/base/model", f"{DMI}/product_name"):
        model = machine.read(path)
        # Boards whose maker left the field as the firmware's author wrote it say nothing.
        if model and model.lower() not in ("to be filled by o.e.m.", "system product name", "default string"):
            return model, path
    return None, ""


def _virtual_machine(machine: Machine) -> tuple[str | None, str]:
    if machine.system == "android":
        return None, ""
    if machine.system == "darwin":
        flag = sysctl(machine).get("kern.hv_vmm_present")
        return {"0": "none", "1": "apple-virtualization"}.get(flag or ""), "sysctl kern.hv_vmm_present"
    kind = machine.read("/sys/hypervisor/type")
    if kind:
        return kind, "/sys/hypervisor/type"
    if re.search("microsoft", machine.read("/proc/version") or "", re.IGNORECASE):
        return "wsl", "/proc/version"
    words = " ".join(
        machine.read(f"{DMI}/{file}") or "" for file in ("sys_vendor", "product_name", "bios_vendor")
    )
    for word, name in _HYPERVISORS:
        if word in words.lower():
            return name, DMI
    flags = re.search(r"^flags\s*:(.*)$", machine.read("/proc/cpuinfo") or "", re.MULTILINE)
    if flags is None:
        return (None, "") if not machine.exists("/proc/device-tree/model") else _from_device_tree(machine)
    if " hypervisor" in flags[1]:
        return "unknown hypervisor", "/proc/cpuinfo flags"
    return "none", "/proc/cpuinfo flags"


def _from_device_tree(machine: Machine) -> tuple[str | None, str]:
    if machine.exists("/proc/device-tree/hypervisor"):
        return machine.read("/proc/device-tree/hypervisor/compatible") or "unknown hypervisor", "device tree"
    return "none", "device tree without a hypervisor node"


def _container(machine: Machine) -> tuple[str | None, str]:
    if machine.system not in ("linux", "android"):
        return None, ""
    if machine.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes", "$KUBERNETES_SERVICE_HOST"
    for path, name in (("/run/.containerenv", "podman"), ("/.dockerenv", "docker")):
        if machine.exists(path):
            return name, path
    named = machine.read("/run/systemd/container") or machine.environ.get("container")
    if named:
        return named, "/run/systemd/container or $container"
    groups = machine.read("/proc/self/cgroup") or ""
    for word, name in _CONTAINERS:
        if f"/{word}" in groups:
            return name, "/proc/self/cgroup"
    if machine.read("/proc/1/comm") in ("systemd", "init", "launchd"):
        return "none", "/proc/1/comm: process 1 is a system's init"
    return None, ""
