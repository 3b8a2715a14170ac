// Package explain says why a request was refused, for the person who wrote the policy or the pod: in one or two plain sentences,
// which add nothing to what the refusal itself carries, and as the container of the policy that the request comes nearest to with the
// fewest differences. Values of environment variables are never told; arguments are, unless Options.Redact is set.
//
// Requests are the host's: whatever is in them, there is an answer of bounded size on printable lines, and never a panic.
package explain

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/enforcer"
)

// advice maps a rule (a reason of the policy contract, without the names it lists) to what it means and what to do.
var advice = map[string]string{
	"deviceHash not found": "No container of the policy has a layer with this root hash: the image changed since the policy was " +
		"written, or the disk was changed. Generate the policy again from the image that is to run.",
	"device already mounted at path": "A disk is mounted at this place already.",
	"mountpoint invalid":             "The agent may not mount a disk at this place.",
	"no device at path to unmount":   "Nothing that the policy knows of is mounted at this place.",
	"received read-only unmount request, but device provided is read-write": "A writable disk is mounted at this place, not a layer.",
	"received read-write unmount request, but device provided is read-only": "A layer is mounted at this place, not a writable disk.",
	"no overlay at path to unmount":                                         "Nothing that the policy knows of is mounted at this place.",
	"no scratch at path to unmount":                                         "Nothing that the policy knows of is mounted at this place.",
	"overlay has already been mounted":                                      "This container has a root file system already; a container id is good for one container only.",
	"scratch already mounted at path":                                       "This container has a writable layer already.",
	"no matching containers for overlay": "No container of the policy has exactly these layers in this order: one is missing, " +
		"added, in another place, or no mounted disk.",
	"unencrypted scratch not allowed": "The writable layer must be encrypted; the policy does not set allow_unencrypted_scratch.",
	"unencrypted scratch not allowed, non-readonly mount request for SCSI disk must request encryption": "The writable disk " +
		"must be encrypted; the policy does not set allow_unencrypted_scratch.",
	"ensureFilesystem must be set on rw device mounts":       "A writable disk must be formatted by the agent.",
	"rw device mounts uses a filesystem that is not allowed": "A writable disk must be ext4 or xfs.",
	"blockdev mounts are not supported":                      "Block devices cannot be handed to a container.",
	"container already started":                              "This container was created before; a container id is good for one container only.",
	"container not started":                                  "There is no such container, or it was not created under this policy.",
	"privileged escalation not allowed":                      "The container asks to be privileged; the policy does not set allow_elevated for it.",
	"devices not supported":                                  "The container asks for device nodes; no policy can allow them.",
	"invalid command":                                        "The policy lists no such command here. Arguments are compared one by one.",
	"invalid working directory":                              "The working directory is not the one in the policy.",
	"invalid user":                                           "The user, a group or the umask is not what the policy allows.",
	"invalid noNewPrivileges":                                "The policy demands no_new_privileges, the request does not set it.",
	"invalid seccomp":                                        "The seccomp profile is not the one in the policy.",
	"invalid mount list":                                     "The container asks for a mount that the policy does not list.",
	"missing required environment variable":                  "A variable that the policy requires is missing or has another value.",
	"invalid env list":                                       "A variable is not allowed by the policy, by its name or by its value.",
	"capabilities don't match":                               "The capabilities are not those of the policy.",
	"containers only distinguishable by capabilties": "More than one container of the policy fits, and they differ in what would be " +
		"dropped from the capabilities.",
	"containers only distinguishable by allow_stdio_access": "More than one container of the policy fits, and they differ in " +
		"allow_stdio_access.",
	"external processes only distinguishable by allow_stdio_access": "More than one external process of the policy fits, and " +
		"they differ in allow_stdio_access.",
	"target isn't allowed to receive the signal":                      "The policy does not list this signal for this process.",
	"policy does not define api_version":                              "The policy has no api_version, so it can decide nothing.",
	"framework_version...":                                            "The policy's framework_version is missing or newer than this agent.",
	"rule for...":                                                     "The policy has no rule for this request.",
	"fragment is too large...":                                        "The document is larger than an agent takes.",
	"fragment media type is not known...":                             "The agent knows no documents of this type.",
	"fragment is not a signed document...":                            "The document is not COSE_Sign1 with a certificate chain, or was damaged on its way.",
	"fragment signature does not hold...":                             "The document was changed after it was signed, or the chain does not belong to it.",
	"fragment namespace is not allowed...":                            "A fragment begins with a package line of its own; the agent's names are not for it.",
	"fragment is not valid Rego...":                                   "The fragment does not compile.",
	"fragment cannot be evaluated...":                                 "The fragment's lists could not be computed.",
	"fragment list is not an array":                                   "One of the fragment's lists is not a list.",
	"fragment framework_version...":                                   "The fragment's framework_version is missing or newer than this agent.",
	"fragment issuer does not fit its certificates...":                "The fragment names an issuer that its own certificates do not prove.",
	"transparency trust list is malformed...":                         "The document is signed, and is no transparency trust list.",
	"transparency trust list is older than the one that is loaded...": "A newer list of the same issuer and subject is loaded already.",
	"invalid fragment issuer":                                         "No entry of the policy's fragments has this issuer: it was signed by somebody else, or the policy names another.",
	"invalid fragment feed":                                           "No entry of the policy's fragments has this feed for the issuer.",
	"fragment svn is below the specified minimum":                     "The fragment is older than the policy's minimum_svn.",
	"fragment svn and the specified minimum are different types": "The fragment's svn and the policy's minimum_svn must both be " +
		"whole numbers or both have three parts.",
	"svn in header...": "The fragment's signed header and its text name different versions.",
	"missing fragment svn in either header or rego payload":      "The fragment names no version, in the signed header or in the text.",
	"missing receipt from...":                                    "The policy wants a receipt that the fragment does not carry, or whose ledger no loaded trust list vouches for.",
	"invalid transparency trust list issuer":                     "No entry of the policy's transparency_trust_lists has this issuer.",
	"invalid transparency trust list subject":                    "No entry of the policy's transparency_trust_lists has this subject for the issuer.",
	"transparency trust list svn is below the specified minimum": "The list is older than the policy's minimum_svn.",
	"no ledger of the transparency trust list is allowed":        "The policy allows none of the ledgers that the list speaks for.",
	"not allowed by the policy":                                  "The policy does not set the flag that allows this.",
	"the policy is older than this point and does not allow it": "The policy's api_version is older than this request; its " +
		"default is to refuse.",
	"the policy gives no reason":          "The policy gives no reason.",
	"the policy could not give a reason":  "The policy's reason rule failed.",
	"not supported by a Linux utility VM": "This is for Windows containers only.",
	"no single container of the policy has all that was asked": "Each part of the request is allowed for some container of the " +
		"policy, but no single container allows them all.",
}

// Error explains a refusal in plain words. An error that holds no Denial is one the policy could not decide.
func Error(err error) string {
	var denial *enforcer.Denial
	if !errors.As(err, &denial) {
		return "The policy could not decide, so the request was refused."
	}
	return Denial(denial)
}

// Denial explains a refusal in plain words.
func Denial(d *enforcer.Denial) string {
	var b strings.Builder
	fmt.Fprintf(&b, "The policy refused %s", d.Point)
	if d.Container != "" {
		fmt.Fprintf(&b, " for container %q", d.Container)
	}
	fmt.Fprintf(&b, " (%s). %s", d.Field, Cause(d))
	if more := others(d); len(more) > 0 {
		fmt.Fprintf(&b, " Also: %s.", strings.Join(more, "; "))
	}
	return b.String()
}

// Cause is what Denial says of the rule alone.
func Cause(d *enforcer.Denial) string { return adviceOn(d.Rule) }

func adviceOn(rule string) string {
	if text, ok := advice[rule]; ok {
		return text
	}
	for start, text := range advice {
		if start, ok := strings.CutSuffix(start, "..."); ok && strings.HasPrefix(rule, start) {
			return text
		}
	}
	return "The policy's own words: " + rule + "."
}

// others are the reasons besides the one that was explained, without what they list: that is the host's text.
func others(d *enforcer.Denial) []string {
	var more []string
	for _, reason := range d.Reasons {
		if strings.HasPrefix(reason, d.Rule) {
			continue
		}
		name, _, _ := strings.Cut(reason, ": ")
		if !slices.Contains(more, name) && name != d.Rule {
			more = append(more, name)
		}
	}
	return more
}
