package main

import "github.com/spf13/cobra"

func newAttestCommand() *cobra.Command {
	cmd := asGroup(&cobra.Command{
		Use:   "attest",
		Short: "Ask for SEV-SNP reports, verify evidence and look into it",
	})
	cmd.AddCommand(newAttestInspectCommand(), newAttestReportCommand(), newAttestVerifyCommand())
	return cmd
}
