#!/bin/sh
# Reads on a target what the probes of slm-advisor ask of a machine, and prints it: text, one entry after another.
#
# It needs a POSIX shell and nothing else (od, sed, grep, df, getprop, sysctl and nvidia-smi are used where they are
# there), needs no root, writes nothing, and reads no more than what is listed here. To see what it would send:
#
#     . ./collect.sh; answer
#
# An entry is a line with a letter and a name, and lines with its content:
#
#     F path    a text file; its lines, each behind "|"
#     B path    a file of bytes as hexadecimal numbers, each behind a blank
#     X path    a file that is there and may not be read
#     E path    a file or folder that is there
#     C words   what a command printed, each line behind "|"
#     V name    a variable of the environment, behind "|"
#     D path    what df says about the place where this path is or would be, behind "|"
#
# The lists have one pattern a line. profiles/collected.py takes from them what an answer may hold.

FILES='
/proc/1/comm
/proc/cpuinfo
/proc/meminfo
/proc/self/cgroup
/proc/self/status
/proc/sys/kernel/osrelease
/proc/version
/run/systemd/container
/sys/bus/pci/devices/*/class
/sys/bus/pci/devices/*/vendor
/sys/class/dmi/id/bios_vendor
/sys/class/dmi/id/chassis_type
/sys/class/dmi/id/product_name
/sys/class/dmi/id/sys_vendor
/sys/class/drm/card[0-9]*/device/device
/sys/class/drm/card[0-9]*/device/hwmon/*/power1_cap
/sys/class/drm/card[0-9]*/device/mem_info_gtt_total
/sys/class/drm/card[0-9]*/device/mem_info_vram_total
/sys/class/drm/card[0-9]*/device/mem_info_vram_used
/sys/class/drm/card[0-9]*/device/product_name
/sys/class/drm/card[0-9]*/device/resource
/sys/class/drm/card[0-9]*/device/revision
/sys/class/drm/card[0-9]*/device/uevent
/sys/class/drm/card[0-9]*/device/vendor
/sys/class/kfd/kfd/topology/nodes/*/properties
/sys/class/kgsl/kgsl-3d0/gpu_model
/sys/class/misc/mali0/device/gpuinfo
/sys/class/power_supply/*/capacity
/sys/class/power_supply/*/online
/sys/class/power_supply/*/scope
/sys/class/power_supply/*/status
/sys/class/power_supply/*/type
/sys/devices/cpu_atom/cpus
/sys/devices/system/cpu/cpu[0-9]*/cache/index*/level
/sys/devices/system/cpu/cpu[0-9]*/cache/index*/size
/sys/devices/system/cpu/cpu[0-9]*/cache/index*/type
/sys/devices/system/cpu/cpu[0-9]*/cpu_capacity
/sys/devices/system/cpu/cpu[0-9]*/cpufreq/base_frequency
/sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq
/sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list
/sys/devices/system/cpu/online
/sys/hypervisor/type
/sys/module/amdgpu/version
/system/build.prop
/vendor/build.prop
'

# Text with NULs in it, and the firmware's table of memory modules.
BYTES='
/proc/device-tree/compatible
/proc/device-tree/hypervisor/compatible
/proc/device-tree/model
/sys/firmware/devicetree/base/compatible
/sys/firmware/devicetree/base/model
/sys/firmware/dmi/tables/DMI
'

THERE='
/.dockerenv
/dev/dxg
/dev/nvgpu
/dev/nvhost-gpu
/dev/nvidiactl
/proc/device-tree/hypervisor
/proc/driver/nvidia/version
/run/.containerenv
/sys/class/drm/card[0-9]*/device/pp_dpm_fclk
/sys/class/drm/card[0-9]*/device/pp_dpm_pcie
/sys/module/i915
/sys/module/xe
'

# Of the control groups this shell is in and of all above them.
GROUP_FILES='
cpu.cfs_period_us
cpu.cfs_quota_us
cpu.max
memory.current
memory.high
memory.limit_in_bytes
memory.max
memory.stat
memory.usage_in_bytes
'

# Lists of PCI names, of which only the lines about the graphics cards here are sent.
NAME_LISTS='
/usr/share/hwdata/pci.ids
/usr/share/libdrm/amdgpu.ids
/usr/share/misc/pci.ids
'

# Stands for "/" when this is tried on a copy of another machine's files.
root=${SLM_ADVISOR_ROOT:-}
tab='	'
newline='
'
split=" $tab$newline"
limit=

# Android's shell has no printf of its own, and starting a program for each line would take a minute.
case ${KSH_VERSION:-} in
'') say() { printf '%s\n' "$1"; } ;;
*) say() { print -r -- "$1"; } ;;
esac

lines() {
  while IFS= read -r line || [ -n "$line" ]; do
    empty=
    say "|$line"
  done
}

text() {
  [ -f "$1" ] || return 0
  if [ -r "$1" ]; then
    say "F ${1#"$root"}"
    empty=yes
    lines <"$1"
    # A shell reads byte by byte, and some kernels answer that with nothing for a list of processors.
    [ -z "$empty" ] || say "$(cat "$1")" | lines
  else
    say "X ${1#"$root"}"
  fi
}

bytes() {
  [ -f "$1" ] || return 0
  if [ -r "$1" ]; then
    say "B ${1#"$root"}"
    od -An -v -tx1 -N 65536 "$1"
  else
    say "X ${1#"$root"}"
  fi
}

there() {
  [ ! -e "$1" ] || say "E ${1#"$root"}"
}

# each FUNCTION PATTERNS: the function with every path that fits
each() {
  set -f
  for pattern in $2; do
    set +f
    IFS=
    for path in $root$pattern; do
      IFS=$split
      "$1" "$path"
      IFS=
    done
    IFS=$split
  done
  set +f
}

# kept WORDS OUTPUT: a command and what it printed; a command that failed or printed nothing is left out
kept() {
  [ -n "$2" ] || return 0
  say "C $1"
  say "$2" | lines
}

variable() {
  case $2 in
  '' | *"$newline"*) ;;
  *)
    say "V $1"
    say "|$2"
    ;;
  esac
}

# The file system at a path, or at the nearest folder above it that is there
space() {
  case $1 in
  *"$newline"*) return 0 ;;
  /*) place=$1 ;;
  *) return 0 ;;
  esac
  while [ -n "$place" ] && [ ! -e "$place" ]; do place=${place%/*}; done
  say "D $1"
  $limit df -Pk "${place:-/}" | lines
}

# The control groups of this shell, versions 1 and 2: at every mount the group's folder and the folders above it
groups() {
  [ -r "$root/proc/self/mountinfo" ] || return 0
  say 'F /proc/self/mountinfo'
  while IFS= read -r mount || [ -n "$mount" ]; do
    case $mount in *' - cgroup'*) say "|$mount" ;; esac
  done <"$root/proc/self/mountinfo"
  [ -r "$root/proc/self/cgroup" ] || return 0
  while IFS=' ' read -r _ _ _ top point others || [ -n "$others" ]; do
    case $others in
    *' - cgroup2 '*) wanted='0::*' ;;
    *' - cgroup '*cpu* | *' - cgroup '*memory*) wanted='[1-9]*:*[cm][pe][um]*:*' ;; # cpu, memory
    *) continue ;;
    esac
    while IFS= read -r member || [ -n "$member" ]; do
      # shellcheck disable=SC2254  # it is a pattern
      case $member in $wanted) ;; *) continue ;; esac
      member=${member#*:}
      ancestors "$point" "${top%/}" "${member#*:}"
    done <"$root/proc/self/cgroup"
  done <"$root/proc/self/mountinfo"
}

# ancestors MOUNT-POINT ROOT-OF-THE-MOUNT GROUP
ancestors() {
  inside=$3
  case $2 in
  '') ;;
  *)
    case $3 in
    "$2"*) inside=${3#"$2"} ;;
    *) inside= ;; # a path of the host; here the mount point is the group
    esac
    ;;
  esac
  while :; do
    case $inside in
    /.. | /../*) inside=${inside#/..} ;; # above the root of a namespace of groups
    */) inside=${inside%/} ;;
    '' | /*) break ;;
    *) inside=/$inside ;;
    esac
  done
  folder=$1$inside
  while :; do
    for name in $GROUP_FILES; do text "$root$folder/$name"; done
    [ "$folder" != "$1" ] || break
    folder=${folder%/*}
  done
}

# The names of the cards' chips, where the distribution has lists of them
names() {
  amd=
  intel=
  short=
  for card in "$root"/sys/class/drm/card[0-9]*; do
    vendor=
    device=
    read -r vendor <"$card/device/vendor" || [ -n "$vendor" ] || continue
    read -r device <"$card/device/device" || [ -n "$device" ] || continue
    device=${device#0x}
    case $device in '' | *[!0-9a-f]*) continue ;; esac
    case $vendor in
    0x1002)
      amd="$amd/^$tab$device  /p;"
      short="$short/^$(echo "$device" | tr a-f A-F),/p;/^$device,/p;"
      ;;
    0x8086) intel="$intel/^$tab$device  /p;" ;;
    esac
  done
  [ -n "$amd$intel" ] || return 0
  program="/^1002  /,/^[0-9a-f]/{/^1002  /p;$amd}$newline/^8086  /,/^[0-9a-f]/{/^8086  /p;$intel}"
  for list in $NAME_LISTS; do
    [ -r "$root$list" ] || continue
    say "F $list"
    case $list in
    *amdgpu*) sed -n "$short" "$root$list" | lines ;;
    *) sed -n "$program" "$root$list" | lines ;;
    esac
  done
}

android() {
  kept getprop "$(
    $limit getprop | grep -e '^\[ro\.board\.platform\]' -e '^\[ro\.build\.characteristics\]' \
      -e '^\[ro\.build\.version\.release\]' -e '^\[ro\.hardware\.chipname\]' -e '^\[ro\.product\.manufacturer\]' \
      -e '^\[ro\.product\.marketname\]' -e '^\[ro\.product\.model\]' -e '^\[ro\.soc\.'
  )"
}

darwin() {
  kept 'sysctl -a' "$(
    sysctl -a | grep -e '^hw\.' -e '^iogpu\.' -e '^kern\.hv_vmm_present:' -e '^kern\.osproductversion:' \
      -e '^machdep\.cpu\.'
  )"
  kept vm_stat "$(vm_stat)"
  kept 'pmset -g batt' "$(pmset -g batt)"
  kept 'system_profiler -json SPDisplaysDataType' "$(system_profiler -json SPDisplaysDataType)"
}

nvidia() {
  fields=name,driver_version,memory.total,memory.free,enforced.power.limit,mig.mode.current
  found=$($limit nvidia-smi "--query-gpu=$fields,compute_cap" --format=csv,noheader,nounits) ||
    found=$($limit nvidia-smi "--query-gpu=$fields" --format=csv,noheader,nounits) || found=
  kept nvidia-smi "$found"
}

storage() {
  home=${HOME:-}
  case $home in
  '' | /) [ ! -d "$root/data/local/tmp" ] || home=/data/local/tmp ;; # what adb's user can write to
  esac
  variable HOME "$home"
  variable HF_HUB_CACHE "${HF_HUB_CACHE:-}"
  variable HF_HOME "${HF_HOME:-}"
  variable XDG_CACHE_HOME "${XDG_CACHE_HOME:-}"
  variable TMPDIR "${TMPDIR:-}"
  variable TEMP "${TEMP:-}"
  variable TMP "${TMP:-}"
  if [ -n "${HF_HUB_CACHE:-}" ]; then
    models=$HF_HUB_CACHE
  elif [ -n "${HF_HOME:-}" ]; then
    models=${HF_HOME%/}/hub
  elif [ -n "${XDG_CACHE_HOME:-}" ]; then
    models=${XDG_CACHE_HOME%/}/huggingface/hub
  else
    models=${home%/}/.cache/huggingface/hub
  fi
  case $models in '~'*) models=$home${models#'~'} ;; esac
  space "$models"
  space "${TMPDIR:-${TEMP:-${TMP:-/tmp}}}"
}

collect() {
  if timeout 5 true; then limit='timeout 15'; fi
  system=$(uname -s)
  kept 'uname -s' "$system"
  variable ANDROID_ROOT "${ANDROID_ROOT:-}"
  variable KUBERNETES_SERVICE_HOST "${KUBERNETES_SERVICE_HOST:+set}"
  variable container "${container:-}"
  if [ "$system" = Darwin ]; then
    darwin
  else
    android
    each text "$FILES"
    each bytes "$BYTES"
    each there "$THERE"
    groups
    names
    nvidia
  fi
  storage
}

answer() {
  collect 2>/dev/null
  return 0
}
