package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/snp/measure"
)

func newGuestCommand() *cobra.Command {
	cmd := asGroup(&cobra.Command{
		Use:   "guest",
		Short: "Build the guest image: kernel, initrd and command line of the utility VM",
	})
	cmd.AddCommand(newGuestBuildCommand(), newGuestLockCommand())
	return cmd
}

// guestBuild is the command line of "cloister guest build".
type guestBuild struct {
	o        guest.Options
	launch   guest.Launch
	features string
	endorse  endorseFlags
	asJSON   bool
}

func newGuestBuildCommand() *cobra.Command {
	var b guestBuild
	cmd := &cobra.Command{
		Use:   "build -o DIR",
		Short: "Build the guest image from the locked packages",
		Long: `Build writes exactly vmlinuz, initrd.img, cmdline, measurements.json, packages.json and SHA256SUMS to DIR.
The same source gives the same bytes on every machine. The agent is built from the source tree around the working
directory; outside of one, give it with --agent (and, with --dev, --emulator).

With --firmware, measurements.json has the launch digests of 1 to 64 processors under QEMU. Without it there is only the
digest that the software SNP processor reports, which no SEV-SNP machine can have.

With --endorsement, each digest is signed as an endorsement (COSE_Sign1, the form of ACI's reference information): one file a
digest, vcpus-N.cose, or emulated.cose without --firmware.`,
		Example: `  cloister guest build -o out/guest-production
  cloister guest build --dev -o out/guest
  cloister guest build -o out/guest-production --packages ~/debs --json
  cloister guest build -o out/guest-production --firmware OVMF.amdsev.fd --endorsement out/endorsement --endorsement-key key.pem \
      --endorsement-chain chain.pem --endorsement-svn 3 --endorsement-time 2026-10-01T00:00:00Z`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return b.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVarP(&b.o.Out, "output", "o", "", "directory to write; an image that is there is replaced")
	f.BoolVar(&b.o.Dev, "dev", false, "development image: adds the software SNP processor")
	f.StringVar(&b.o.Packages, "packages", "", "directory with the locked .deb files, instead of cache and mirror")
	f.StringVar(&b.o.Agent, "agent", "", "prebuilt agent, instead of building it")
	f.StringVar(&b.o.Emulator, "emulator", "", "prebuilt software SNP processor, instead of building it")
	f.StringVar(&b.launch.Firmware, "firmware", "", "OVMF image that checks kernel hashes, as a file: measure launches with it")
	f.StringVar(&b.launch.CPUType, "vcpu-type", measure.DefaultCPUType, "QEMU's processor model of these launches")
	f.StringVar(&b.features, "guest-features", fmt.Sprintf("%#x", measure.DefaultGuestFeatures), "SEV_FEATURES of these launches")
	f.BoolVar(&b.launch.NoFPUState, "no-fpu-state", false, "launches on hosts with kernels older than 6.10")
	b.endorse.add(cmd)
	f.BoolVar(&b.asJSON, "json", false, "print the result as JSON")
	return cmd
}

func (b *guestBuild) run(cmd *cobra.Command) error {
	if err := b.check(cmd); err != nil {
		return err
	}
	signer, err := b.endorse.signer(cmd, b.o.Out)
	if err != nil {
		return err
	}
	b.o.Progress = progressTo(cmd.ErrOrStderr())
	result, err := guest.Build(cmd.Context(), b.o)
	if err != nil {
		return err
	}
	signed := 0
	if signer != nil {
		if signed, err = b.endorse.write(signer, result.Measurements); err != nil {
			return err
		}
	}
	if b.asJSON {
		return encodeJSON(cmd.OutOrStdout(), result)
	}
	return printBuilt(cmd.OutOrStdout(), result, signed, b.endorse.out)
}

func (b *guestBuild) check(cmd *cobra.Command) error {
	if b.o.Out == "" {
		return &usageError{errors.New("guest build: no output directory given (-o DIR)")}
	}
	if b.o.Emulator != "" && !b.o.Dev {
		return &usageError{errors.New("guest build: --emulator needs --dev: a production image holds no emulator")}
	}
	if b.launch.Firmware == "" {
		for _, name := range []string{"vcpu-type", "guest-features", "no-fpu-state"} {
			if cmd.Flags().Changed(name) {
				return &usageError{fmt.Errorf("guest build: --%s needs --firmware FILE", name)}
			}
		}
		return nil
	}
	var err error
	if b.launch.GuestFeatures, err = strconv.ParseUint(b.features, 0, 64); err != nil || b.launch.GuestFeatures == 0 {
		return &usageError{fmt.Errorf("--guest-features: got %.32q, want a number with bit 0 set", b.features)}
	}
	b.o.Launch = &b.launch
	return nil
}

// printBuilt says what was built, and plainly what of it no machine can report.
func printBuilt(w io.Writer, result *guest.Result, signed int, endorsements string) error {
	m := result.Measurements
	fmt.Fprintf(w, "%s image in %s\n  vmlinuz     %s  %s\n  initrd.img  %s  %s\n  agent       %s  %s\n", m.Kind, result.Dir,
		m.Kernel.SHA256, megabytes(m.Kernel.Size), m.Initrd.SHA256, megabytes(m.Initrd.Size), m.Agent.SHA256, megabytes(m.Agent.Size))
	var err error
	if m.Launch == nil {
		_, err = fmt.Fprintln(w, "  launch      not measured: no --firmware given, measurements.json has the software SNP processor's digest only")
	} else {
		_, err = fmt.Fprintf(w, "  launch      1 to %d vCPUs, %s, firmware %s\n", len(m.Launch.Digests), m.Launch.CPUType, m.Launch.Firmware.SHA256)
	}
	if signed > 0 {
		_, err = fmt.Fprintf(w, "  endorsed    %d launch digests in %s\n", signed, endorsements)
	}
	return err
}

func newGuestLockCommand() *cobra.Command {
	var update, asJSON bool
	cmd := &cobra.Command{
		Use:   "lock",
		Short: "Show the locked packages of the guest image, or lock the newest ones",
		Example: `  cloister guest lock
  cloister guest lock --update`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			wd, err := os.Getwd()
			if err != nil {
				return err
			}
			source := guest.FindSource(wd)
			recipe, err := guest.LoadRecipe(source)
			if err != nil {
				return err
			}
			packages := recipe.Packages
			if update {
				if source == "" {
					return errors.New("guest lock --update: not inside a Cloister source tree, whose guest/packages.lock it writes")
				}
				if packages, err = guest.UpdateLock(cmd.Context(), recipe, progressTo(cmd.ErrOrStderr())); err != nil {
					return err
				}
				if err := guest.WriteLock(source, packages); err != nil {
					return err
				}
			}
			if asJSON {
				return encodeJSON(cmd.OutOrStdout(), packages)
			}
			_, err = io.Copy(cmd.OutOrStdout(), bytes.NewReader(guest.FormatLock(packages)))
			return err
		},
	}
	cmd.Flags().BoolVar(&update, "update", false, "lock the newest versions that the machine's mirror has")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the packages as JSON")
	return cmd
}

// progressTo prints a line a step, for commands that take longer than a moment.
func progressTo(w io.Writer) guest.Progress {
	u := newUI(w)
	return func(line string) { u.note("%s", line) }
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

func encodeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
