package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/guest"
)

func newGuestCommand() *cobra.Command {
	cmd := asGroup(&cobra.Command{
		Use:   "guest",
		Short: "Build the guest image: kernel, initrd and command line of the utility VM",
	})
	cmd.AddCommand(newGuestBuildCommand(), newGuestLockCommand())
	return cmd
}

func newGuestBuildCommand() *cobra.Command {
	var o guest.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "build -o DIR",
		Short: "Build the guest image from the locked packages",
		Long: `Build writes exactly vmlinuz, initrd.img, cmdline, measurements.json, packages.json and SHA256SUMS to DIR.
The same source gives the same bytes on every machine. The agent is built from the source tree around the working
directory; outside of one, give it with --agent (and, with --dev, --emulator).`,
		Example: `  cloister guest build -o out/guest-production
  cloister guest build --dev -o out/guest
  cloister guest build -o out/guest-production --packages ~/debs --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Out == "" {
				return &usageError{errors.New("guest build: no output directory given (-o DIR)")}
			}
			if o.Emulator != "" && !o.Dev {
				return &usageError{errors.New("guest build: --emulator needs --dev: a production image holds no emulator")}
			}
			o.Progress = progressTo(cmd.ErrOrStderr())
			result, err := guest.Build(cmd.Context(), o)
			if err != nil {
				return err
			}
			if asJSON {
				return encodeJSON(cmd.OutOrStdout(), result)
			}
			m := result.Measurements
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s image in %s\n  vmlinuz     %s  %s\n  initrd.img  %s  %s\n  agent       %s  %s\n", m.Kind, result.Dir,
				m.Kernel.SHA256, megabytes(m.Kernel.Size), m.Initrd.SHA256, megabytes(m.Initrd.Size), m.Agent.SHA256, megabytes(m.Agent.Size))
			return err
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Out, "output", "o", "", "directory to write; an image that is there is replaced")
	f.BoolVar(&o.Dev, "dev", false, "development image: adds the software SNP processor")
	f.StringVar(&o.Packages, "packages", "", "directory with the locked .deb files, instead of cache and mirror")
	f.StringVar(&o.Agent, "agent", "", "prebuilt agent, instead of building it")
	f.StringVar(&o.Emulator, "emulator", "", "prebuilt software SNP processor, instead of building it")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
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
