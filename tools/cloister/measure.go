package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/snp/measure"
)

// measureFlags is the command line of "cloister measure".
type measureFlags struct {
	image    imageFlags
	launch   launchFlags
	ovmfOnly bool
	asJSON   bool
}

func newMeasureCommand() *cobra.Command {
	var m measureFlags
	cmd := &cobra.Command{
		Use:   "measure",
		Short: "Compute the launch measurement of a guest image",
		Long: `Measure prints the MEASUREMENT that SEV-SNP reports of a guest will carry: the launch digest over firmware, kernel, initrd,
command line and the first state of each virtual processor. Everything is computed from the files; nothing is asked of
this machine. The digest depends on the number and model of processors, on the VMM and on the host's SEV features: give
what the guest is launched with. A range of processors (--vcpus 1-64) prints one line for each count.

QEMU measures kernel, initrd and command line only through a firmware that checks their hashes (OVMF's AmdSev flavour).
EC2 and GCE boot from a disk: without kernel files the firmware and the processors alone are measured.

Without --firmware it prints what the software SNP processor reports for the image (emulated): a digest over the page
of kernel hashes alone, which no real launch can have.`,
		Example: `  cloister measure --guest out/guest
  cloister measure --guest out/guest-production --firmware OVMF.amdsev.fd --vcpus 2
  cloister measure --guest out/guest-production --firmware OVMF.amdsev.fd --vcpus 1-64 --vcpu-type EPYC-Milan --json
  cloister measure --kernel vmlinuz --initrd initrd.img --cmdline "console=ttyS0" --firmware OVMF.amdsev.fd --vcpus 4 --guest-features 0x21
  cloister measure --vmm ec2 --firmware ovmf_img.fd --vcpus 2
  cloister measure --firmware OVMF.fd --print-ovmf-hash
  cloister measure --no-kernel --firmware OVMF_CODE.fd --svsm svsm.bin --vars-size 540672 --vcpus 4`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return m.run(cmd) },
	}
	m.image.add(cmd)
	m.launch.add(cmd)
	cmd.Flags().BoolVar(&m.ovmfOnly, "print-ovmf-hash", false, "print the launch digest of the firmware's own pages, for --ovmf-hash")
	cmd.Flags().BoolVar(&m.asJSON, "json", false, "print JSON, with the hash of every input")
	cmd.AddCommand(newIDBlockCommand())
	return cmd
}

func (m *measureFlags) run(cmd *cobra.Command) error {
	if m.image.none && (m.image.oneByOne(cmd) || cmd.Flags().Changed("guest")) {
		return &usageError{errors.New("measure: --no-kernel contradicts --guest, --kernel, --initrd and --cmdline: want one or the other")}
	}
	if m.launch.firmware == "" {
		if name := m.launch.given(cmd); name != "" || m.ovmfOnly {
			return &usageError{fmt.Errorf("measure: --%s says how a firmware is launched, and none is given (--firmware FILE)", orElse(name, "print-ovmf-hash"))}
		}
		if m.image.none {
			return &usageError{errors.New("measure: without firmware (--firmware FILE) and kernel there is nothing to measure")}
		}
	}
	var out measured
	if m.launch.firmware != "" {
		if err := m.launch.resolve(cmd); err != nil {
			return err
		}
	}
	if m.image.wanted(cmd, m.launch) && !m.ovmfOnly {
		h, err := m.image.hashes(cmd)
		if err != nil {
			return err
		}
		out.setKernel(h)
		m.launch.launch.Kernel = &h
	}
	if m.launch.firmware == "" {
		return out.print(cmd.OutOrStdout(), m.asJSON, out.Emulated)
	}
	return m.printLaunch(cmd.OutOrStdout(), out)
}

// imageFlags say what is booted.
type imageFlags struct {
	dir, kernel, initrd, cmdline string
	none                         bool
}

func (i *imageFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&i.dir, "guest", os.Getenv(guestEnv), "directory of the guest image (default $"+guestEnv+", else out/guest)")
	f.StringVar(&i.kernel, "kernel", "", "kernel file, instead of a guest image")
	f.StringVar(&i.initrd, "initrd", "", "initrd file")
	f.StringVar(&i.cmdline, "cmdline", "", "kernel command line")
	f.BoolVar(&i.none, "no-kernel", false, "no kernel is booted directly: measure firmware and processors alone")
}

func (i *imageFlags) oneByOne(cmd *cobra.Command) bool {
	f := cmd.Flags()
	return f.Changed("kernel") || f.Changed("initrd") || f.Changed("cmdline")
}

// wanted says whether kernel files are measured: when they are named, and where a launch cannot be without.
func (i *imageFlags) wanted(cmd *cobra.Command, l launchFlags) bool {
	named := i.oneByOne(cmd) || cmd.Flags().Changed("guest")
	return !i.none && (named || l.firmware == "" || (l.launch.VMM == measure.QEMU && l.svsm == ""))
}

func (i *imageFlags) hashes(cmd *cobra.Command) (measure.Hashes, error) {
	if !i.oneByOne(cmd) {
		return measureImage(guestDir(i.dir))
	}
	if i.kernel == "" || i.initrd == "" || cmd.Flags().Changed("guest") {
		return measure.Hashes{}, &usageError{errors.New("measure: want --guest, or all of --kernel, --initrd and --cmdline")}
	}
	return measure.HashFiles(i.kernel, i.initrd, i.cmdline)
}

func measureImage(dir string) (measure.Hashes, error) {
	// The files, not what measurements.json says of them: this command is how one checks that file.
	text, err := os.ReadFile(filepath.Join(dir, guest.FileCmdline))
	if errors.Is(err, os.ErrNotExist) {
		return measure.Hashes{}, fmt.Errorf("measure: no guest image: %w (make one with `cloister guest build --dev -o %s`, or name one with --guest)", err, dir)
	}
	if err != nil {
		return measure.Hashes{}, err
	}
	return measure.HashFiles(filepath.Join(dir, guest.FileKernel), filepath.Join(dir, guest.FileInitrd), string(text))
}

// printLaunch computes and prints the digests of a launch, or of its firmware alone.
func (m *measureFlags) printLaunch(w io.Writer, out measured) error {
	if err := m.launch.read(&out); err != nil {
		return err
	}
	if m.ovmfOnly {
		return out.print(w, m.asJSON, out.FirmwareDigest)
	}
	digests, err := m.launch.digests()
	if err != nil {
		return err
	}
	var lines []string
	for i, d := range digests {
		n := m.launch.first + i
		out.Digests = append(out.Digests, measuredDigest{n, d.String()})
		lines = append(lines, strconv.Itoa(n)+" "+d.String())
	}
	if len(digests) == 1 {
		lines = []string{digests[0].String()}
	}
	return out.print(w, m.asJSON, strings.Join(lines, "\n"))
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
