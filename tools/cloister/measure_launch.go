package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/snp/measure"
)

// launchFlags say how a guest is launched.
type launchFlags struct {
	firmware, svsm, vars    string
	vcpus, vmm, features    string
	cpuType, cpuSig         string
	family, model, stepping int
	noFPU                   bool
	seed                    string

	first, last int // numbers of processors
	launch      measure.Launch
	fw          *measure.Firmware
	under       *measure.SVSM
}

// launchNames are the flags that mean nothing without a firmware.
var launchNames = []string{
	"vcpus", "vcpu-type", "vcpu-sig", "vcpu-family", "vcpu-model", "vcpu-stepping", "vmm", "guest-features", "no-fpu-state", "ovmf-hash", "svsm", "vars-size",
}

func (l *launchFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&l.firmware, "firmware", "", "OVMF image, as a file")
	f.StringVar(&l.vcpus, "vcpus", "1", "number of virtual processors, or a range: 2, 1-64")
	f.StringVar(&l.cpuType, "vcpu-type", measure.DefaultCPUType, "QEMU's processor model: EPYC, EPYC-Rome, EPYC-Milan, EPYC-Genoa, EPYC-Turin, or a version (EPYC-v4)")
	f.StringVar(&l.cpuSig, "vcpu-sig", "", "CPUID signature of the processor instead, e.g. 0x800f12")
	f.IntVar(&l.family, "vcpu-family", 0, "family of the processor instead, with --vcpu-model and --vcpu-stepping")
	f.IntVar(&l.model, "vcpu-model", 0, "model of the processor")
	f.IntVar(&l.stepping, "vcpu-stepping", 0, "stepping of the processor")
	f.StringVar(&l.vmm, "vmm", string(measure.QEMU), "qemu, ec2 or gce")
	f.StringVar(&l.features, "guest-features", fmt.Sprintf("%#x", measure.DefaultGuestFeatures), "SEV_FEATURES of each processor; 0x21 with host kernels 6.6 and 6.7")
	f.BoolVar(&l.noFPU, "no-fpu-state", false, "the host's kernel is older than 6.10 and leaves the FPU's state zero (qemu)")
	f.StringVar(&l.seed, "ovmf-hash", "", "launch digest of the firmware that is really used; --firmware then only lends its metadata")
	f.StringVar(&l.svsm, "svsm", "", "COCONUT-SVSM image (svsm.bin), as a file")
	f.StringVar(&l.vars, "vars-size", "0", "bytes of the variable store between SVSM and firmware")
}

// given names a launch flag that was set.
func (l *launchFlags) given(cmd *cobra.Command) string {
	if i := slices.IndexFunc(launchNames, cmd.Flags().Changed); i >= 0 {
		return launchNames[i]
	}
	return ""
}

// resolve turns the texts into a launch. It reads no file.
func (l *launchFlags) resolve(cmd *cobra.Command) error {
	l.launch = measure.Launch{VMM: measure.VMM(l.vmm), NoFPUState: l.noFPU}
	var err error
	if l.launch.VMM != measure.QEMU && l.launch.VMM != measure.EC2 && l.launch.VMM != measure.GCE {
		return &usageError{fmt.Errorf("--vmm: got %.32q, want qemu, ec2 or gce", l.vmm)}
	}
	if l.first, l.last, err = parseRange(l.vcpus); err != nil {
		return err
	}
	if l.launch.GuestFeatures, err = strconv.ParseUint(l.features, 0, 64); err != nil {
		return &usageError{fmt.Errorf("--guest-features: got %.32q, want a number", l.features)}
	}
	if l.seed != "" {
		d, err := measure.ParseDigest(l.seed)
		if err != nil {
			return &usageError{fmt.Errorf("--ovmf-hash: %w", err)}
		}
		l.launch.Firmware = &d
	}
	l.launch.CPU, err = l.cpu(cmd)
	return err
}

func (l *launchFlags) cpu(cmd *cobra.Command) (measure.CPU, error) {
	f := cmd.Flags()
	parts := f.Changed("vcpu-family") || f.Changed("vcpu-model") || f.Changed("vcpu-stepping")
	ways := 0
	for _, given := range []bool{f.Changed("vcpu-type"), f.Changed("vcpu-sig"), parts} {
		if given {
			ways++
		}
	}
	var cpu measure.CPU
	var err error
	switch {
	case ways > 1:
		err = errors.New("want one of --vcpu-type, --vcpu-sig and --vcpu-family with --vcpu-model and --vcpu-stepping")
	case parts && !(f.Changed("vcpu-family") && f.Changed("vcpu-model") && f.Changed("vcpu-stepping")):
		err = errors.New("want all of --vcpu-family, --vcpu-model and --vcpu-stepping")
	case parts:
		cpu, err = measure.Signature(l.family, l.model, l.stepping)
	case l.cpuSig != "":
		var v uint64
		if v, err = strconv.ParseUint(l.cpuSig, 0, 32); err != nil {
			err = fmt.Errorf("--vcpu-sig: got %.32q, want a 32-bit number", l.cpuSig)
		}
		cpu = measure.CPU(v)
	default:
		cpu, err = measure.CPUType(l.cpuType)
	}
	if err != nil {
		return 0, &usageError{fmt.Errorf("measure: %w", err)}
	}
	return cpu, nil
}

// parseRange reads "4" or "1-64".
func parseRange(text string) (first, last int, err error) {
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	first, errFirst := strconv.Atoi(from)
	last, errLast := strconv.Atoi(to)
	if errFirst != nil || errLast != nil || first < 1 || last < first || last > measure.MaxVCPUs {
		return 0, 0, &usageError{fmt.Errorf("--vcpus: got %.32q, want a number or a range, 1 to %d", text, measure.MaxVCPUs)}
	}
	return first, last, nil
}

// read reads firmware and SVSM and notes what they are.
func (l *launchFlags) read(out *measured) error {
	fw, image, err := measure.ReadFirmware(l.firmware)
	if err != nil {
		return err
	}
	l.fw = fw
	out.setLaunch(l, image)
	if l.svsm == "" {
		return nil
	}
	vars, err := strconv.ParseUint(l.vars, 0, 32)
	if err != nil {
		return &usageError{fmt.Errorf("--vars-size: got %.32q, want a number of bytes", l.vars)}
	}
	svsm, image, err := measure.ReadFirmware(l.svsm)
	if err != nil {
		return err
	}
	l.under = &measure.SVSM{Image: svsm, VarsSize: uint32(vars)}
	out.SVSM, out.VarsSize = newMeasuredFile(image), uint32(vars)
	return nil
}

// digests are those of first to last processors.
func (l *launchFlags) digests() ([]measure.Digest, error) {
	var all []measure.Digest
	var err error
	if l.under != nil {
		all, err = l.launch.DigestsUnderSVSM(l.fw, *l.under, l.last)
	} else {
		all, err = l.launch.Digests(l.fw, l.last)
	}
	if err != nil {
		return nil, err
	}
	return all[l.first-1:], nil
}

// measured is what "cloister measure" prints as JSON: the digests and everything they were computed from.
type measured struct {
	Kernel   string `json:"vmlinuz_sha256,omitempty"`
	Initrd   string `json:"initrd_sha256,omitempty"`
	Cmdline  string `json:"cmdline_sha256,omitempty"` // with the ending NUL
	Emulated string `json:"emulated,omitempty"`       // launch digest of a machine without firmware

	Firmware       *measuredFile    `json:"firmware,omitempty"`
	FirmwareDigest string           `json:"firmware_launch_digest,omitempty"` // of its own pages, or --ovmf-hash
	SVSM           *measuredFile    `json:"svsm,omitempty"`
	VarsSize       uint32           `json:"vars_size,omitempty"`
	VMM            string           `json:"vmm,omitempty"`
	CPU            string           `json:"vcpu_signature,omitempty"`
	GuestFeatures  string           `json:"guest_features,omitempty"`
	NoFPUState     bool             `json:"no_fpu_state,omitempty"`
	Digests        []measuredDigest `json:"digests,omitempty"`
}

type measuredFile struct {
	SHA256 string `json:"sha256"`
	Size   int    `json:"size"`
}

type measuredDigest struct {
	VCPUs  int    `json:"vcpus"`
	Digest string `json:"digest"`
}

func newMeasuredFile(b []byte) *measuredFile {
	sum := sha256.Sum256(b)
	return &measuredFile{hex.EncodeToString(sum[:]), len(b)}
}

func (m *measured) setKernel(h measure.Hashes) {
	m.Kernel, m.Initrd, m.Cmdline = hex.EncodeToString(h.Kernel[:]), hex.EncodeToString(h.Initrd[:]), hex.EncodeToString(h.Cmdline[:])
	m.Emulated = h.Emulated().String()
}

func (m *measured) setLaunch(l *launchFlags, firmware []byte) {
	m.Firmware = newMeasuredFile(firmware)
	m.FirmwareDigest = l.fw.Digest().String()
	if l.launch.Firmware != nil {
		m.FirmwareDigest = l.launch.Firmware.String()
	}
	m.VMM, m.GuestFeatures = string(l.launch.VMM), fmt.Sprintf("%#x", l.launch.GuestFeatures)
	if l.launch.VMM == measure.QEMU { // the others measure no signature
		m.CPU, m.NoFPUState = fmt.Sprintf("%#x", uint32(l.launch.CPU)), l.launch.NoFPUState
	}
}

func (m measured) print(w io.Writer, asJSON bool, text string) error {
	if asJSON {
		return encodeJSON(w, m)
	}
	_, err := fmt.Fprintln(w, text)
	return err
}
