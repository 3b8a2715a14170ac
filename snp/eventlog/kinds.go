package eventlog

import "slices"

// Kinds of entries.
const (
	KindStart            = "start"
	KindSummary          = "summary"
	KindPolicy           = "policy"
	KindDecision         = "decision"
	KindCommitFailed     = "commit-failed"
	KindUndone           = "undone"
	KindFragmentLoaded   = "fragment-loaded"
	KindRequestRefused   = "request-refused"
	KindSandboxCreated   = "sandbox-created"
	KindSandboxDestroyed = "sandbox-destroyed"
	KindPauseCreated     = "pause-created"
	KindContainerCreated = "container-created"
	KindContainerFailed  = "container-failed"
	KindContainerStarted = "container-started"
	KindContainerExited  = "container-exited"
	KindContainerRemoved = "container-removed"
	KindExecStarted      = "exec-started"
	KindExecFailed       = "exec-failed"
	KindSignalSent       = "signal-sent"
	KindPoisoned         = "poisoned"
	// KindUnknown stands for an entry whose kind is not in the table: that something was appended is kept, what it said is not.
	KindUnknown = "unknown"
)

// Verdicts of the kinds that have one.
const (
	Allowed = "allowed"
	Refused = "refused"
)

// Field names a field of an entry, as it is in CBOR.
type Field string

// Fields of entries besides seq and kind, which each has.
const (
	FieldPoint     Field = "point"
	FieldRequest   Field = "request"
	FieldContainer Field = "container"
	FieldTarget    Field = "target"
	FieldVerdict   Field = "verdict"
	FieldRule      Field = "rule"
	FieldField     Field = "field"
	FieldDecision  Field = "decision"
	FieldDigest    Field = "digest"
	FieldIssuer    Field = "issuer"
	FieldFeed      Field = "feed"
	FieldSVN       Field = "svn"
	FieldCode      Field = "code"
	FieldCount     Field = "count"
	FieldVersion   Field = "version"
	FieldCmdline   Field = "cmdline"
	FieldDefaults  Field = "defaults"
	FieldCounts    Field = "counts"
	FieldDetail    Field = "detail"
)

// Kind is a row of the table of kinds: what an entry says, and which fields it may have.
type Kind struct {
	Name   string
	Doc    string
	Fields []Field
}

// Kinds is the table of kinds. A field that is not in an entry's row never gets into the log.
func Kinds() []Kind { return slices.Clone(kinds) }

var kinds = []Kind{
	{
		KindStart, "the agent started: its version, the kernel command line with its SHA-256, and the defaults that apply as name=value; always number 0",
		[]Field{FieldVersion, FieldCmdline, FieldDigest, FieldDefaults},
	},
	{
		KindSummary, "older entries are being folded away: the start entry's version, digest and defaults again, and how many entries of each " +
			"kind and verdict there were until now",
		[]Field{FieldVersion, FieldDigest, FieldDefaults, FieldCounts},
	},
	{
		KindPolicy, "a policy was bound, or refused: its digest as HOST_DATA has it, in detail the carrier and who judges by it, of a refusal the rule",
		[]Field{FieldVerdict, FieldDigest, FieldRule, FieldDetail},
	},
	{
		KindDecision, "the policy decided: the point, the request it was part of, the container's key, of a refusal rule and field. target is the " +
			"agent's own name of what is mounted; digest is a layer's root hash or the SHA-256 of the arguments; code is a signal's number; detail is an overlay's " +
			"layers, top first; count says how often the same was decided at a point that changes nothing, and such an entry comes at the 1st, 2nd, 4th, 8th time",
		[]Field{
			FieldPoint, FieldRequest, FieldContainer, FieldTarget, FieldVerdict, FieldRule, FieldField, FieldDecision, FieldDigest, FieldCode,
			FieldCount, FieldDetail,
		},
	},
	{
		KindCommitFailed, "an allowed decision could not be made part of the policy's state; the request failed",
		[]Field{FieldPoint, FieldRequest, FieldContainer, FieldTarget, FieldDecision},
	},
	{
		KindUndone, "a committed decision was taken back, because a later step of the same request failed or was refused",
		[]Field{FieldPoint, FieldRequest, FieldContainer, FieldTarget, FieldDecision},
	},
	{
		KindFragmentLoaded, "a signed document counts from now on: issuer, feed (a trust list's subject), svn, the SHA-256 of the document, its point, and in " +
			"detail its media type when it has one",
		[]Field{FieldPoint, FieldDecision, FieldIssuer, FieldFeed, FieldSVN, FieldDigest, FieldDetail},
	},
	{
		KindRequestRefused, "a request was refused without a decision: it is never allowed, came before a policy, or is input to a container without stdio; count as with decisions",
		[]Field{FieldRequest, FieldRule, FieldCount},
	},
	{KindSandboxCreated, "the pod was made; container is its key", []Field{FieldContainer}},
	{KindSandboxDestroyed, "the pod was taken down", []Field{FieldContainer}},
	{KindPauseCreated, "the built-in pause container was made: no process, no decision", []Field{FieldContainer}},
	{KindContainerCreated, "a container was made; nothing of it runs yet. digest is the SHA-256 of its arguments", []Field{FieldContainer, FieldDigest, FieldDecision}},
	{KindContainerFailed, "a container could not be made or started; rule says at which step", []Field{FieldContainer, FieldRule}},
	{KindContainerStarted, "a container's first process begins to run", []Field{FieldContainer}},
	{KindContainerExited, "a container's first process ended; code is its exit status", []Field{FieldContainer, FieldCode}},
	{KindContainerRemoved, "a container was taken down, its mounts and disks with it", []Field{FieldContainer}},
	{
		KindExecStarted, "one more process is about to run in a container, written before it does; digest is the SHA-256 of its arguments",
		[]Field{FieldContainer, FieldDigest, FieldDecision},
	},
	{
		KindExecFailed, "an allowed process did not start, or it is not known whether it did, whatever exec-started said before; rule says which",
		[]Field{FieldContainer, FieldDigest, FieldDecision, FieldRule},
	},
	{KindSignalSent, "a signal is sent; target is init, exec, all or pause", []Field{FieldContainer, FieldTarget, FieldCode}},
	{KindPoisoned, "the pod takes no further changes, for its state is not known; rule says since what", []Field{FieldRule}},
	{KindUnknown, "something was appended that has no row here", nil},
}

var byKind = func() map[string]map[Field]bool {
	m := map[string]map[Field]bool{}
	for _, k := range kinds {
		m[k.Name] = map[Field]bool{}
		for _, f := range k.Fields {
			m[k.Name][f] = true
		}
	}
	return m
}()
