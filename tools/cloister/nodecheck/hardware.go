package nodecheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/cloister-cc/cloister/shim/boot"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/shim/vm/qemu"
)

func (h *Host) path(p string) string { return filepath.Join(h.Root, p) }

func (h *Host) read(p string) string {
	text, err := os.ReadFile(h.path(p))
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(text))
}

// snp looks for the device and the module's parameter: the device is there on hosts with plain SEV too.
func (h *Host) snp(context.Context) Finding {
	f := Finding{What: "sev-snp"}
	_, err := os.Stat(h.path("/dev/sev"))
	on := h.read("/sys/module/kvm_amd/parameters/sev_snp")
	switch {
	case err == nil && (on == "Y" || on == "1"):
		f.Level, f.Got = OK, "/dev/sev, and kvm_amd has sev_snp"
		if h.Node.TEE != vm.TEESNP {
			f.Level, f.Follows, f.Next = Warn, fmt.Sprintf("pods run with tee = %q, without the hardware's protection", h.Node.TEE), "set tee = \"snp\" in node.toml"
		}
		return f
	case err == nil:
		f.Got = fmt.Sprintf("/dev/sev, but kvm_amd's sev_snp is %q", orNone(on))
	default:
		f.Got = "no /dev/sev"
	}
	if h.Node.TEE == vm.TEESNP {
		f.Level, f.Follows = Fail, "tee is \"snp\", so no pod starts"
		f.Next = "enable SEV-SNP in firmware and kernel, or for trials set tee = \"emulated\" in node.toml, with a guest image built with --dev"
		return f
	}
	if h.Node.TEE == vm.TEENone {
		f.Level, f.Follows = Fail, "tee is \"none\": a guest without a report device binds no policy, so no pod starts"
		f.Next = "set tee = \"snp\" in node.toml, or for trials \"emulated\" with a guest image built with --dev"
		return f
	}
	f.Level, f.Follows = Warn, fmt.Sprintf("pods run with tee = %q: the host can read them", h.Node.TEE)
	f.Next = "use this node for trials only"
	return f
}

func orNone(s string) string {
	if s == "" {
		return "not there"
	}
	return s
}

// kvm asks QEMU as the shim does: that the device is there says little where machines are nested.
func (h *Host) kvm(ctx context.Context) Finding {
	f := Finding{What: "kvm"}
	if h.Node.Accel == "tcg" {
		return Finding{What: "kvm", Level: Note, Got: "not asked: accel is \"tcg\"", Follows: "guests run ten times slower or more"}
	}
	works := false
	switch _, err := os.Stat(h.path("/dev/kvm")); {
	case err != nil:
		f.Got = "no /dev/kvm"
	case h.Root != "" || h.Quick:
		return Finding{What: "kvm", Level: OK, Got: "/dev/kvm is there (no kernel was booted under it)"}
	default:
		guest, err := boot.OpenGuest(h.Node.Guest)
		if err != nil {
			return Finding{What: "kvm", Level: Note, Got: "/dev/kvm is there; whether a kernel boots under it was not tried without a guest image"}
		}
		if works = qemu.KVMWorks(ctx, guest.Kernel); works {
			return Finding{What: "kvm", Level: OK, Got: "a kernel boots under it"}
		}
		f.Got = "/dev/kvm is there, but no kernel boots under it"
	}
	if h.Node.TEE == vm.TEESNP || h.Node.Accel == "kvm" {
		f.Level, f.Follows, f.Next = Fail, "no pod starts", "load kvm_amd, or enable (nested) virtualisation"
		return f
	}
	f.Level, f.Follows, f.Next = Warn, "guests are emulated (TCG), ten times slower or more", "enable (nested) virtualisation, unless this is a trial"
	return f
}

var qemuVersion = regexp.MustCompile(`version (\d+)\.(\d+)`)

// qemu looks for the program, its age and the object of an SNP launch.
func (h *Host) qemu(ctx context.Context) Finding {
	f := Finding{What: "qemu"}
	if h.Root != "" {
		return Finding{}
	}
	out, err := exec.CommandContext(ctx, qemu.Program, "--version").Output()
	m := qemuVersion.FindSubmatch(out)
	if err != nil || m == nil {
		f.Level, f.Got, f.Follows, f.Next = Fail, fmt.Sprintf("%s does not run: %v", qemu.Program, err), "no pod starts", "install QEMU 7.2 or later (9.1 or later for SNP)"
		return f
	}
	major, _ := strconv.Atoi(string(m[1]))
	minor, _ := strconv.Atoi(string(m[2]))
	f.Got = fmt.Sprintf("%d.%d", major, minor)
	objects, _ := exec.CommandContext(ctx, qemu.Program, "-object", "help").Output()
	snp := bytes.Contains(objects, []byte("sev-snp-guest"))
	if snp {
		f.Got += " with sev-snp-guest"
	}
	switch {
	case major < 7 || major == 7 && minor < 2:
		f.Level, f.Follows, f.Next = Fail, "it lacks what guests are plugged together with", "install QEMU 7.2 or later (9.1 or later for SNP)"
	case !snp && h.Node.TEE == vm.TEESNP:
		f.Level, f.Follows, f.Next = Fail, "it has no sev-snp-guest, and tee is \"snp\": no pod starts", "install QEMU 9.1 or later"
	case !snp:
		f.Level, f.Follows = OK, "no SNP launches (9.1 or later has them)"
	default:
		f.Level = OK
	}
	return f
}

func (h *Host) firmware(context.Context) Finding {
	if h.Node.TEE != vm.TEESNP {
		return Finding{}
	}
	f := Finding{What: "firmware"}
	if h.Node.Firmware == "" {
		f.Level, f.Got, f.Follows = Fail, "none configured", "an SNP launch needs one: no pod starts"
		f.Next = "set firmware in node.toml to OVMF's AmdSev flavour, which measures kernel, initrd and command line"
		return f
	}
	if _, err := os.Stat(h.path(h.Node.Firmware)); err != nil {
		f.Level, f.Got, f.Follows, f.Next = Fail, fmt.Sprintf("%v", err), "no pod starts", "correct firmware in node.toml"
		return f
	}
	f.Level, f.Got = OK, h.Node.Firmware
	return f
}

// guest looks for the image and says its digests, by which nodes can be told apart.
func (h *Host) guest(context.Context) Finding {
	f := Finding{What: "guest image"}
	dir := h.path(h.Node.Guest)
	if _, err := boot.OpenGuest(dir); err != nil {
		f.Level, f.Got, f.Follows = Fail, fmt.Sprintf("%v", err), "no pod starts"
		f.Next = "cloister guest build -o " + h.Node.Guest + ", or name another directory in node.toml"
		return f
	}
	var digests []string
	for _, name := range []string{"vmlinuz", "initrd.img"} {
		sum, err := digest(filepath.Join(dir, name))
		if err != nil {
			f.Level, f.Got, f.Follows, f.Next = Fail, fmt.Sprintf("%v", err), "no pod starts", "build the image anew"
			return f
		}
		digests = append(digests, name+" sha256:"+sum[:16])
	}
	f.Level, f.Got = OK, strings.Join(digests, ", ")
	if h.Node.TEE == vm.TEESNP {
		f.Next = "owners compare evidence with: cloister measure --guest " + h.Node.Guest + " --firmware " + h.Node.Firmware
	}
	return f
}

// policy warns of pods that run without their owner's.
func (h *Host) policy(context.Context) Finding {
	if h.Node.DefaultPolicy == "" {
		return Finding{What: "default policy", Level: OK, Got: "none: pods that bring no policy are refused"}
	}
	f := Finding{What: "default policy", Level: Warn, Got: h.Node.DefaultPolicy}
	f.Follows = "pods without a policy run under the node's, which is no protection from the node; their evidence says so"
	f.Next = "leave default_policy out of node.toml outside of trials"
	if _, err := os.Stat(h.path(h.Node.DefaultPolicy)); errors.Is(err, fs.ErrNotExist) {
		f.Level, f.Got, f.Follows, f.Next = Fail, h.Node.DefaultPolicy+" is not there", "pods without a policy fail", "correct default_policy in node.toml"
	}
	return f
}
