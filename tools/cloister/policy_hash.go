package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/agent/initdata"
	"github.com/cloister-cc/cloister/tools/cloister/kube"
)

// maxHashed bounds what is read: a policy in base64 is larger than its text.
const maxHashed = 2 * initdata.MaxUnpacked

type policyHash struct {
	base64, initdata, json bool
}

// hashResult is what --json prints.
type hashResult struct {
	HostData       string `json:"host_data"`        // base64, as launchers take it
	HostDataHex    string `json:"host_data_hex"`    // as reports and verifiers print it
	Bytes          int    `json:"bytes"`            // what was hashed
	Carrier        string `json:"carrier"`          // policy or initdata
	Algorithm      string `json:"algorithm"`        // sha256, but for initdata documents that say otherwise
	PolicySHA256   string `json:"policy_sha256"`    // hex, of the policy's text; empty when an initdata document holds none
	PolicyInBase64 bool   `json:"policy_in_base64"` // with --base64 it was decoded before it was hashed, without it was not
}

func newPolicyHashCommand() *cobra.Command {
	var h policyHash
	cmd := &cobra.Command{
		Use:   "hash POLICY",
		Short: "Print the HOST_DATA that a policy has to be launched with",
		Long: `Hash prints the SHA-256 of a policy's exact bytes ("-" is standard input), in hex and in base64: the HOST_DATA of a VM that
obeys this policy. A changed space changes it. The text is not judged: "cloister policy lint" does that.`,
		Example: `  cloister policy hash policy.rego
  cloister policy hash --base64 ccepolicy.txt
  cloister policy hash --initdata initdata.toml --json`,
		Args: exactly("POLICY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if h.base64 && h.initdata {
				return &usageError{errors.New("policy hash: want one of --base64 and --initdata")}
			}
			return h.run(cmd, args[0])
		},
	}
	f := cmd.Flags()
	f.BoolVar(&h.base64, "base64", false, "POLICY is in base64, as annotations and templates carry it")
	f.BoolVar(&h.initdata, "initdata", false, "POLICY is an initdata document (TOML, or packed as annotations carry it); HOST_DATA is the digest it declares")
	f.BoolVar(&h.json, "json", false, "print the result as JSON")
	return cmd
}

func (h *policyHash) run(cmd *cobra.Command, name string) error {
	raw, err := readInput(name, cmd.InOrStdin(), maxHashed)
	if err != nil {
		return fmt.Errorf("policy hash: %w", err)
	}
	result, err := h.hash(raw)
	if err != nil {
		return fmt.Errorf("policy hash %q: %w", name, err)
	}
	if note := suspicious(raw, result.Carrier == "policy" && !h.base64); note != "" {
		newUI(cmd.ErrOrStderr()).warn("policy hash: %s", note)
	}
	if h.json {
		return encodeJSON(cmd.OutOrStdout(), result)
	}
	return result.print(cmd.OutOrStdout())
}

func (h *policyHash) hash(raw []byte) (hashResult, error) {
	if h.initdata {
		doc, err := kube.ReadInitdata(string(bytes.TrimSpace(raw))) // as an annotation carries it
		if err != nil {
			doc, err = initdata.Parse(raw)
		}
		if err != nil {
			return hashResult{}, err
		}
		digest := doc.HostData()
		result := hashResult{Bytes: len(doc.Raw), Carrier: "initdata", Algorithm: doc.Algorithm}
		result.set(digest[:])
		if text, ok := doc.Data[initdata.PolicyKey]; ok {
			result.PolicySHA256 = hexSHA256([]byte(text))
		}
		return result, nil
	}
	_, encoded := base64Policy(raw)
	if h.base64 {
		text, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(raw)))
		if err != nil {
			return hashResult{}, fmt.Errorf("base64: %w", err)
		}
		raw = text
	}
	digest := sha256.Sum256(raw)
	result := hashResult{
		Bytes: len(raw), Carrier: "policy", Algorithm: "sha256", PolicySHA256: hexSHA256(raw), PolicyInBase64: h.base64 || encoded,
	}
	result.set(digest[:])
	return result, nil
}

func (r *hashResult) set(digest []byte) {
	r.HostData, r.HostDataHex = base64.StdEncoding.EncodeToString(digest), hex.EncodeToString(digest)
}

func (r *hashResult) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "HOST_DATA %s\nbase64    %s\n", r.HostDataHex, r.HostData)
	if err == nil && r.Carrier == "initdata" && r.PolicySHA256 != "" {
		_, err = fmt.Fprintf(w, "policy    %s\n", r.PolicySHA256)
	}
	return err
}

// packageClause is what every policy has.
var packageClause = regexp.MustCompile(`(?m)^[ \t]*package[ \t]`)

// suspicious says why the digest may not be the one the user wants.
func suspicious(raw []byte, asText bool) string {
	_, encoded := base64Policy(raw)
	switch {
	case !asText:
		return ""
	case len(raw) == 0:
		return "this is the digest of an empty text"
	case len(bytes.TrimSpace(raw)) == 0:
		return "the text is white space only, and no policy"
	case anyInitdata(raw) != nil:
		return "the file is an initdata document; the digest it declares is printed with --initdata"
	case encoded:
		return "the file looks like a policy in base64; its text's digest is printed with --base64"
	case bytes.HasPrefix(raw, []byte("\xef\xbb\xbf")):
		return "the file starts with a byte order mark, which is part of the digest"
	case !packageClause.Match(raw):
		return "the file has no package clause, so it is no policy; the digest is of its bytes all the same"
	}
	return ""
}

func hexSHA256(text []byte) string {
	digest := sha256.Sum256(text)
	return hex.EncodeToString(digest[:])
}
