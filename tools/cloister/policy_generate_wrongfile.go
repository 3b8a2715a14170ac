package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

// isTemplate tells a deployment template by its members.
func isTemplate(text []byte) bool {
	var t struct {
		Schema    json.RawMessage `json:"$schema"`
		Resources json.RawMessage `json:"resources"`
	}
	return json.Unmarshal(text, &t) == nil && len(t.Schema) > 0 && len(t.Resources) > 0
}

// isYAML tells a Kubernetes document in YAML from JSON by its first bytes.
func isYAML(text []byte) bool {
	text = bytes.TrimSpace(text)
	return bytes.HasPrefix(text, []byte("---")) || bytes.HasPrefix(text, []byte("apiVersion:")) || bytes.HasPrefix(text, []byte("kind:"))
}

// refuseTemplate refuses a deployment template that was given for another flag.
func refuseTemplate(cmd *cobra.Command, flag, name string, text []byte) error {
	if !isTemplate(text) {
		return nil
	}
	return usage(cmd, "%s %s is a deployment template: use -a", flag, printable(name))
}

// noFileArguments refuses arguments, and says how a file is given.
func noFileArguments(cmd *cobra.Command, args []string) error {
	err := noArguments(cmd, args)
	if err == nil {
		return nil
	}
	return &usageError{fmt.Errorf("%w (give a deployment template with -a FILE, a Kubernetes document with -f FILE)", err)}
}
