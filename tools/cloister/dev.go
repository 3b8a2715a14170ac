package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

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
		Short: "The software SNP processor: its keys, its parameter disk, its certificate servers",
	})
	tee.AddCommand(newDevTEEInitCommand(), newDevTEEDiskCommand(), newDevTEEServeCommand())
	cmd.AddCommand(tee, newDevSigningCommand())
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
			where, err := authorityDir(dir)
			if err != nil {
				return err
			}
			a, err := emulator.LoadOrInit(where)
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
	var d teeDisk
	cmd := &cobra.Command{
		Use:   "disk -o FILE --host-data HEX --measurement HEX",
		Short: "Write a parameter disk for the software SNP processor",
		Long: `Disk writes what "cloister run --tee emulated" gives its VM: the endorsement key and what reports shall say. With it
"snp-emulator serve" offers a report device on a machine that has none. The file holds a private key.

A fault is written ` + emulator.FaultUsage + `: it holds for COUNT requests
to the firmware after the first AFTER, without a count for all that follow. Kinds:
  ` + faultKindsHelp() + `.`,
		Example: `  cloister dev tee disk -o tee.img --host-data $(sha256sum policy.rego | cut -d' ' -f1) --measurement $(cloister measure)
  cloister dev tee disk -o tee.img --host-data $H --measurement $M --processor turin --vlek --fault busy,after=3,times=31
  snp-emulator serve --tee tee.img --tsm /run/tsm`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			if d.out == "" {
				return &usageError{errors.New("dev tee disk: no file given (-o FILE)")}
			}
			return d.write()
		},
	}
	f := cmd.Flags()
	f.StringVarP(&d.out, "output", "o", "", "file to write")
	f.StringVar(&d.dir, "dir", "", authorityHelp)
	f.StringVar(&d.hostData, "host-data", "", "HOST_DATA, 32 bytes in hex")
	f.StringVar(&d.measurement, "measurement", "", "MEASUREMENT, 48 bytes in hex")
	f.StringVar(&d.processor, "processor", "", "processor to be: "+strings.Join(emulator.Products(), ", ")+" (default Genoa)")
	f.BoolVar(&d.vlek, "vlek", false, "sign with a cloud provider's key instead of the chip's")
	f.Uint32Var(&d.version, "report-version", 0, "version of the reports, 2 to 5 (default: the processor's)")
	f.StringArrayVar(&d.faults, "fault", nil, "a fault of host or firmware; may be given again")
	return cmd
}

// teeDisk is one use of the command.
type teeDisk struct {
	out, dir, hostData, measurement, processor string

	vlek    bool
	version uint32
	faults  []string
}

func (d *teeDisk) write() error {
	host, err := hex.DecodeString(d.hostData)
	if err != nil || len(host) != 32 {
		return &usageError{fmt.Errorf("--host-data: got %.80q, want 32 bytes in hex", d.hostData)}
	}
	digest, err := measure.ParseDigest(d.measurement)
	if err != nil {
		return &usageError{fmt.Errorf("--measurement: %w", err)}
	}
	id, err := processorNamed(d.processor)
	if err != nil {
		return err
	}
	id.VLEK, id.ReportVersion = d.vlek, d.version
	script, err := parseFaults(d.faults)
	if err != nil {
		return err
	}
	a, err := loadAuthority(d.dir)
	if err != nil {
		return err
	}
	params, err := a.Params(id)
	if err != nil {
		return err
	}
	if err := a.Play(&params, script); err != nil {
		return &usageError{err}
	}
	params.HostData, params.Measurement = [32]byte(host), digest
	return emulator.WriteTEEDisk(d.out, params)
}

// processorNamed is the software processor of --processor.
func processorNamed(name string) (emulator.Identity, error) {
	if name == "" {
		return emulator.DefaultIdentity(), nil
	}
	id, err := emulator.IdentityOf(name)
	if err != nil {
		return id, &usageError{fmt.Errorf("--processor: %w", err)}
	}
	return id, nil
}

// parseFaults reads a fault script from flags.
func parseFaults(texts []string) ([]emulator.Fault, error) {
	var script []emulator.Fault
	for _, text := range texts {
		f, err := emulator.ParseFault(text)
		if err != nil {
			return nil, &usageError{err}
		}
		script = append(script, f)
	}
	return script, nil
}

// loadAuthority never makes keys: that is what "dev tee init" is for.
func loadAuthority(flag string) (*emulator.Authority, error) {
	dir, err := authorityDir(flag)
	if err != nil {
		return nil, err
	}
	a, err := emulator.Load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no keys of a software SNP processor in %q (make them with: cloister dev tee init --dir %s)", dir, dir)
	}
	return a, err
}

// faultKindsHelp breaks the kinds of faults into lines.
func faultKindsHelp() string {
	kinds := strings.Split(emulator.FaultKinds(), ", ")
	half := (len(kinds) + 1) / 2
	return strings.Join(kinds[:half], ", ") + ",\n  " + strings.Join(kinds[half:], ", ")
}
