package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/agent/initdata"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/tools/cloister/kube"
)

func newPolicyCommand() *cobra.Command {
	cmd := asGroup(&cobra.Command{
		Use:   "policy",
		Short: "Write, read, check and try the policy of a pod",
	})
	cmd.AddCommand(
		newPolicyDefaultsCommand(),
		newPolicyDiffCommand(),
		newPolicyExplainCommand(),
		newPolicyGenerateCommand(),
		newPolicyHashCommand(),
		newPolicyLintCommand(),
		newPolicyShowCommand(),
		newPolicySimulateCommand(),
		newPolicyHelpCommand(),
	)
	return cmd
}

// newPolicyHelpCommand makes "policy help lint" say what "help policy lint" does.
func newPolicyHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "help [COMMAND]",
		Short:  "Say how a command is used",
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			group := cmd.Parent()
			for _, c := range group.Commands() {
				if len(args) == 1 && c.Name() == args[0] {
					return c.Help()
				}
			}
			if err := group.Args(group, args); err != nil {
				return err
			}
			return group.Help()
		},
	}
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

// readPolicy reads a policy text. One in base64, as annotations and templates carry it, is decoded, and a line on standard error says so.
func readPolicy(cmd *cobra.Command, name string) ([]byte, error) {
	text, err := readInput(name, cmd.InOrStdin(), enforcer.MaxPolicyLimit)
	if err != nil {
		return nil, err
	}
	switch {
	case len(text) == 0:
		return nil, fmt.Errorf("read %q: the file is empty", name)
	case len(bytes.TrimSpace(text)) == 0:
		return nil, fmt.Errorf("read %q: there is only white space in it", name)
	}
	if decoded, ok := base64Policy(text); ok {
		newUI(cmd.ErrOrStderr()).note("%s: %q is a policy in base64; what it decodes to was read", commandName(cmd), name)
		return decoded, nil
	}
	if document := anyInitdata(text); document != nil {
		policy := document.Data[initdata.PolicyKey]
		if policy == "" {
			return nil, fmt.Errorf("read %q: an initdata document without a policy: %s is not in it", name, initdata.PolicyKey)
		}
		newUI(cmd.ErrOrStderr()).note("%s: %q is an initdata document; the policy in it was read", commandName(cmd), name)
		return []byte(policy), nil
	}
	return text, nil
}

// anyInitdata reads an initdata document, as text or packed as an annotation has it; nil when raw is neither. No policy is a TOML document.
func anyInitdata(raw []byte) *initdata.Document {
	if document, err := kube.ReadInitdata(string(bytes.TrimSpace(raw))); err == nil {
		return document
	}
	document, err := initdata.Parse(raw)
	if err != nil {
		return nil
	}
	return document
}

// base64Policy decodes a policy in base64, in one line or several. No policy's own text looks like that: it has a space in it.
func base64Policy(raw []byte) ([]byte, bool) {
	text, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(raw)))
	if err != nil || !bytes.Contains(text, []byte("package ")) {
		return nil, false
	}
	return text, true
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
