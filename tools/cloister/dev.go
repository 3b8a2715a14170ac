package main

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/measure"
)

func newDevCommand() *cobra.Command {
	cmd := asGroup(&cobra.Command{
		Use:   "dev",
		Short: "Tools for development without SEV-SNP hardware",
	})
	tee := asGroup(&cobra.Command{
		Use:   "tee",
		Short: "The software SNP processor: its keys and its parameter disk",
	})
	tee.AddCommand(newDevTEEInitCommand(), newDevTEEDiskCommand())
	cmd.AddCommand(tee)
	return cmd
}

// authorityDir is the directory of the software processor's keys.
func authorityDir(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	return emulator.DefaultDir()
}

const authorityHelp = "directory of the keys (default $XDG_DATA_HOME/cloister/emulator)"

func newDevTEEInitCommand() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the keys of the software SNP processor, once",
		Long: `Init makes ARK, ASK, ASVK, VCEK and VLEK keys, readable by you alone, unless they exist. Every certificate says
"` + emulator.Subject + `". Verifiers trust them only when told to, with --roots.`,
		Example: `  cloister dev tee init
  cloister dev tee init --dir ./emulator --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := authorityDir(dir)
			if err != nil {
				return err
			}
			a, err := emulator.LoadOrInit(dir)
			if err != nil {
				return err
			}
			if asJSON {
				return encodeJSON(cmd.OutOrStdout(), map[string]string{"dir": a.Dir(), "roots": a.RootsDir()})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "keys   %s\nroots  %s\n", a.Dir(), a.RootsDir())
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", authorityHelp)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newDevTEEDiskCommand() *cobra.Command {
	var dir, out, hostData, measurement string
	cmd := &cobra.Command{
		Use:   "disk -o FILE --host-data HEX --measurement HEX",
		Short: "Write a parameter disk for the software SNP processor",
		Long: `Disk writes what "cloister run --tee emulated" gives its VM: the endorsement key and what reports shall say. With it
"snp-emulator serve" offers a report device on a machine that has none. The file holds a private key.`,
		Example: `  cloister dev tee disk -o tee.img --host-data $(sha256sum policy.rego | cut -d' ' -f1) --measurement $(cloister measure)
  snp-emulator serve --tee tee.img --tsm /run/tsm`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			if out == "" {
				return &usageError{errors.New("dev tee disk: no file given (-o FILE)")}
			}
			host, err := hex.DecodeString(hostData)
			if err != nil || len(host) != 32 {
				return &usageError{fmt.Errorf("--host-data: got %.80q, want 32 bytes in hex", hostData)}
			}
			digest, err := measure.ParseDigest(measurement)
			if err != nil {
				return &usageError{fmt.Errorf("--measurement: %w", err)}
			}
			return writeTEEDisk(dir, out, [32]byte(host), digest)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&out, "output", "o", "", "file to write")
	f.StringVar(&dir, "dir", "", authorityHelp)
	f.StringVar(&hostData, "host-data", "", "HOST_DATA, 32 bytes in hex")
	f.StringVar(&measurement, "measurement", "", "MEASUREMENT, 48 bytes in hex")
	return cmd
}

func writeTEEDisk(flag, out string, hostData [32]byte, digest measure.Digest) error {
	dir, err := authorityDir(flag)
	if err != nil {
		return err
	}
	a, err := emulator.LoadOrInit(dir)
	if err != nil {
		return err
	}
	params, err := a.Params(emulator.DefaultIdentity())
	if err != nil {
		return err
	}
	params.HostData, params.Measurement = hostData, digest
	return emulator.WriteTEEDisk(out, params)
}
