package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/snp/measure"
)

// measured is what "cloister measure" prints.
type measured struct {
	Kernel   string `json:"vmlinuz_sha256"`
	Initrd   string `json:"initrd_sha256"`
	Cmdline  string `json:"cmdline_sha256"`
	Emulated string `json:"emulated"` // launch digest of a machine without firmware
}

func newMeasureCommand() *cobra.Command {
	var dir, kernel, initrd, cmdline string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "measure",
		Short: "Compute the launch measurement of a guest image",
		Long: `Measure prints the MEASUREMENT that reports of a guest image carry on a machine without SNP firmware, as the software
SNP processor makes them: a launch digest over the page with the hashes of kernel, initrd and command line. It is computed
from the image's files as they are, or from the ones given one by one.`,
		Example: `  cloister measure --guest out/guest
  cloister measure --kernel out/guest/vmlinuz --initrd out/guest/initrd.img --cmdline "$(cat out/guest/cmdline)" --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			one := cmd.Flags().Changed("kernel") || cmd.Flags().Changed("initrd") || cmd.Flags().Changed("cmdline")
			if one && (kernel == "" || initrd == "" || cmd.Flags().Changed("guest")) {
				return &usageError{errors.New("measure: want --guest, or all of --kernel, --initrd and --cmdline")}
			}
			h, err := measureImage(guestDir(dir), one, kernel, initrd, cmdline)
			if err != nil {
				return err
			}
			m := measured{hex.EncodeToString(h.Kernel[:]), hex.EncodeToString(h.Initrd[:]), hex.EncodeToString(h.Cmdline[:]), h.Emulated().String()}
			if asJSON {
				return encodeJSON(cmd.OutOrStdout(), m)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), m.Emulated)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "guest", os.Getenv(guestEnv), "directory of the guest image (default $"+guestEnv+", else out/guest)")
	f.StringVar(&kernel, "kernel", "", "kernel file, instead of a guest image")
	f.StringVar(&initrd, "initrd", "", "initrd file")
	f.StringVar(&cmdline, "cmdline", "", "kernel command line")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func measureImage(dir string, one bool, kernel, initrd, cmdline string) (measure.Hashes, error) {
	if one {
		return measure.HashFiles(kernel, initrd, cmdline)
	}
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
