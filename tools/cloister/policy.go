package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/enforcer"
)

func newPolicyCommand() *cobra.Command {
	cmd := asGroup(&cobra.Command{
		Use:   "policy",
		Short: "Write, read, check and try the policy of a pod",
	})
	cmd.AddCommand(
		newPolicyDiffCommand(),
		newPolicyExplainCommand(),
		newPolicyGenerateCommand(),
		newPolicyHashCommand(),
		newPolicyLintCommand(),
		newPolicyShowCommand(),
		newPolicySimulateCommand(),
	)
	return cmd
}

// readInput reads a file that the user named, or standard input for "-", of at most limit bytes.
func readInput(name string, stdin io.Reader, limit int64) ([]byte, error) {
	r := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %q: more than %d bytes", name, limit)
	}
	return data, nil
}

// readPolicy reads a policy text.
func readPolicy(name string, stdin io.Reader) ([]byte, error) {
	text, err := readInput(name, stdin, enforcer.MaxPolicyLimit)
	if err == nil && len(text) == 0 {
		return nil, fmt.Errorf("read %q: the file is empty", name)
	}
	return text, err
}

// oneStdin refuses a command line that wants two things from standard input.
func oneStdin(cmd *cobra.Command, names ...string) error {
	seen := false
	for _, name := range names {
		if name == "-" && seen {
			return &usageError{errors.New(commandName(cmd) + ": standard input (-) can be named once only")}
		}
		seen = seen || name == "-"
	}
	return nil
}
