package nodeinstall

import (
	"bytes"
	"strings"
	"text/template"

	"github.com/cloister-cc/cloister/shim/metrics"
	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/tools/cloister/nodecheck"
)

var unit = template.Must(template.New("unit").Parse(`# Written by "cloister node install".
[Unit]
Description=Image layers as verity disks, for confidential pods (Cloister)
# containerd connects when it first needs a layer, and this daemon to containerd's content store then: neither waits for the other.
Before=containerd.service
After=local-fs.target

[Service]
Type=notify
ExecStart={{.Prefix}}/bin/cloister-snapshotter --root {{.LayersRoot}} --socket {{.Socket}} --metrics {{.MetricsDir}}/` + metrics.Snapshotter + metrics.Suffix + `
Restart=always
RestartSec=1
RuntimeDirectory=cloister
RuntimeDirectoryMode=0755
RuntimeDirectoryPreserve=yes
# It reads what strangers wrote into images. One that makes it grow costs this service alone, and no pod that runs: they do not need it, and it is back in
# a second. So it is not spared where memory is short, as containerd and the kubelet are (-999), and pods' processors come before its own.
MemoryMax=2G
CPUWeight=50
OOMScoreAdjust=0
LimitNOFILE=65536
# It reads blobs of registries and writes files: no kernel settings, no other users' homes, nothing of the system's own.
NoNewPrivileges=yes
ProtectSystem=full
ProtectControlGroups=yes
LockPersonality=yes
PrivateTmp=yes
ProtectHome=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
RestrictAddressFamilies=AF_UNIX

[Install]
WantedBy=multi-user.target
`))

var nodeFile = template.Must(template.New("node.toml").Funcs(template.FuncMap{"join": strings.Join}).Parse(`# Written by "cloister node install", yours from now on: an installation does not write it again. A shim reads it when its pod starts.
# Keys left out have the values that stand behind a "#". Nothing here can loosen what a pod's policy allows.

# Directory that "cloister guest build" wrote: kernel, initrd, command line.
guest = "{{.Guest}}"
# Booted in place of the guest's kernel; not with SNP.
#kernel = ""
# OVMF for SNP, which measures it. Needed with tee = "snp".
#firmware = ""

# What stands behind the guest's report device: "snp", "emulated" (the software processor, which protects nothing) or "none", with which
# no guest of ours binds a policy, and so no pod starts.
tee = "{{.TEE}}"
# "kvm", "tcg", or "" to find out. SNP is always KVM.
#accel = ""
# Directory of the software processor's keys, for tee = "emulated" (cloister dev tee init --dir ...).
#emulator = ""

# Processors of a pod without a CPU limit, and memory that guest and agent need, in MiB: added to the pod's limit, or all there is for a pod without one.
#vcpus = {{.D.VCPUs}}
#memory_mib = {{.D.MemoryMiB}}
# A pod that asks for more is refused.
#max_vcpus = {{.D.MaxVCPUs}}
#max_memory_mib = {{.D.MaxMemoryMiB}}
# Size a VM that could grow once and for all. A confidential one always is.
#static = {{.D.Static}}

# File system of layers: "auto" (ext4, or EROFS where that is the root the pod's policy names), "ext4" or "erofs".
#layer_format = "{{.D.LayerFormat}}"
# Socket of cloister-snapshotter, which shims ask for a layer in another format.
snapshotter = "{{.Socket}}"

# Policy of pods that bring none. Without it they are refused, which is what you want outside of trials.
#default_policy = ""

# Where containers write: "memory" (tmpfs, encrypted as all memory is) or "block" (a sparse file of scratch_mib, encrypted with a key of the guest's).
#scratch = "{{.D.Scratch}}"
#scratch_mib = {{.D.ScratchMiB}}

# Numeric user and group that QEMU runs as; 0 keeps the shim's own, which is root: a guest that breaks out of QEMU is root on the node then, because QEMU's
# seccomp filter does not keep it from files. Take a number that no account, subordinate range or service has, such as {{.User}}. With SNP that
# group must have /dev/sev: chgrp {{.User}} /dev/sev and chmod 0660 /dev/sev, or a udev rule.
#vmm_user = {{.D.VMMUser}}

# One directory a pod.
#state_dir = "{{.D.StateDir}}"

# Until the agent's first answer; of one call to it, waits and streams excepted; between two health checks ("0s": none).
#boot_timeout = "{{.Boot}}"
#request_timeout = "{{.Request}}"
#health_interval = "{{.Health}}"

# Each shim listens there with its metrics ("cloister node metrics" merges them); empty: none.
metrics_dir = "{{.MetricsDir}}"
# Base URL of an OpenTelemetry collector, such as "http://127.0.0.1:4318"; empty: no traces.
#trace_endpoint = ""
`))

// NodeConfig is the text of a node.toml with comments.
func NodeConfig(o Options) ([]byte, error) {
	d := node.Default()
	duration := func(v node.Duration) string { text, _ := v.MarshalText(); return string(text) }
	return execute(nodeFile, struct {
		Options
		D                     node.Config
		User                  int
		Boot, Request, Health string
	}{o, d, nodecheck.FreeUser, duration(d.BootTimeout), duration(d.RequestTimeout), duration(d.HealthInterval)})
}

// Unit is the text of the snapshotter's service.
func Unit(o Options) ([]byte, error) { return execute(unit, o) }

func execute(t *template.Template, values any) ([]byte, error) {
	var b bytes.Buffer
	if err := t.Execute(&b, values); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
