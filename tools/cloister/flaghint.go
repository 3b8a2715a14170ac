package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// flagHints says what stands here for a flag that users of Azure's command line know, by the way it is written there.
var flagHints = map[string]string{
	"--diff":                   `"cloister policy diff" compares the policy in a document with the one that would be written`,
	"-d":                       `"cloister policy diff" compares the policy in a document with the one that would be written`,
	"--save-to-file":           "-o FILE writes it to a file",
	"-s":                       "-o FILE writes it to a file",
	"--print-policy":           "--outraw prints the text, --base64 its base64",
	"--include-fragments":      `"cloister fragment pull" gets fragments from a registry, -j FILE uses them`,
	"--faster-hashing":         "it is not needed: layers are always hashed as they are read",
	"--validate-sidecar":       `"cloister policy simulate" with --fragment shows what a fragment allows`,
	"-v":                       `"cloister policy simulate" with --fragment shows what a fragment allows`,
	"--platform":               "images are taken for linux/amd64",
	"--output-type":            "--outraw prints the text, --base64 its base64",
	"--upload-fragment":        `"cloister fragment push" and "cloister fragment attach" do that`,
	"--out-signed-fragment":    "-o FILE, or -o - for standard output",
	"--containerd-pull":        "--containerd ADDRESS takes images from containerd",
	"--use-cached-files":       "layers are always cached; --cache DIR says where",
	"--settings-file-name":     "there is no settings file: --defaults FILE changes what is added",
	"--rules-file-name":        "the rules are the agent's, and measured with it",
	"--config-map-file":        "--config-map FILE",
	"--containerd-socket-path": "--containerd ADDRESS",
}

// hintForFlag adds to the error of a flag that does not exist what stands for it.
func hintForFlag(_ *cobra.Command, err error) error {
	text := err.Error()
	for _, form := range []string{"unknown flag: ", "unknown shorthand flag: "} {
		rest, ok := strings.CutPrefix(text, form)
		if !ok {
			continue
		}
		name := rest // "--diff", or "'d' in -d"
		if _, after, short := strings.Cut(rest, " in "); short {
			name = after
		}
		if hint, known := flagHints[name]; known {
			err = fmt.Errorf("%w (%s)", err, hint)
		}
	}
	return &usageError{err}
}
