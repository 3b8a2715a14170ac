package enforcer

import (
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// Limits of what a refusal may carry: the request's strings are the host's.
const (
	// denialLimit leaves room for "<Message> is blocked by policy: " in a line of 512 bytes.
	denialLimit = 448
)

// Denial says that the policy refused. It never holds the value of an environment variable or a process argument; the names
// and paths in Reasons are the host's own.
type Denial struct {
	ID    string
	Point Point
	// Rule is the most telling of the reasons, without the names it listed.
	Rule string
	// Field is the part of the request the rule looked at, in the OCI spec's spelling where it has one.
	Field string
	// Container is the policy's name for the container, when only one could be meant.
	Container string
	// Reasons are the policy's own words; the framework's are sorted.
	Reasons []string

	// names are what the reason listed: names of variables, destinations of mounts.
	names  string
	report *decisionReport
}

// Error is one line of at most 448 bytes: `<point>: <rule>: <field>[, container <name>] [decision <id>]`.
func (d *Denial) Error() string {
	var b strings.Builder
	b.WriteString(string(d.Point) + ": " + point.QuoteLine(d.Rule) + ": " + d.Field)
	if d.names != "" {
		b.WriteString(" " + point.Quote(d.names))
	}
	if d.Container != "" {
		b.WriteString(", container " + point.QuoteLine(d.Container))
	}
	end := " [decision " + d.ID + "]"
	return strings.ToValidUTF8(b.String()[:min(b.Len(), denialLimit-len(end))], "") + end
}

// reasonRow maps a reason of the contract to the part of a request it is about. The order is the order of telling: what
// comes first explains more, or is less likely to be a consequence of something else.
type reasonRow struct {
	text  string
	field string
	// listed reasons are followed by ": " and names.
	listed bool
	// prefix reasons go on in their own words.
	prefix bool
}

var reasonTable = []reasonRow{
	{text: fragment.ReasonSize, field: "fragment", listed: true},
	{text: fragment.ReasonMediaType, field: "media_type", listed: true},
	{text: fragment.ReasonFormat, field: "fragment", listed: true},
	{text: fragment.ReasonSignature, field: "fragment", listed: true},
	{text: fragment.ReasonIssuer, field: "fragment.issuer", listed: true},
	{text: fragment.ReasonTrustList, field: "fragment", listed: true},
	{text: fragment.ReasonStale, field: "fragment.svn", listed: true},
	{text: fragment.ReasonNamespace, field: "fragment.namespace", listed: true},
	{text: fragment.ReasonRego, field: "fragment", listed: true},
	{text: fragment.ReasonEval, field: "fragment", listed: true},
	{text: "policy does not define api_version", field: "policy.api_version"},
	{text: "framework_version", field: "policy.framework_version", prefix: true},
	{text: "rule for", field: "policy", prefix: true},
	{text: "invalid fragment issuer", field: "fragment.issuer"},
	{text: "invalid fragment feed", field: "fragment.feed"},
	{text: "fragment svn is below the specified minimum", field: "fragment.svn"},
	{text: "fragment svn and the specified minimum are different types", field: "fragment.svn"},
	{text: "svn in header", field: "fragment.svn", prefix: true},
	{text: "missing fragment svn in either header or rego payload", field: "fragment.svn"},
	{text: "missing receipt from", field: "fragment.receipts", prefix: true},
	{text: "fragment framework_version", field: "fragment.framework_version", prefix: true},
	{text: "fragment list is not an array", field: "fragment", listed: true},
	{text: "invalid transparency trust list issuer", field: "fragment.issuer"},
	{text: "invalid transparency trust list subject", field: "fragment.subject"},
	{text: "transparency trust list svn is below the specified minimum", field: "fragment.svn"},
	{text: "no ledger of the transparency trust list is allowed", field: "fragment.ledgers"},
	{text: "container already started", field: "containerID"},
	{text: "container not started", field: "containerID"},
	{text: "blockdev mounts are not supported", field: "target"},
	{text: "not supported by a Linux utility VM", field: "point"},
	{text: "device already mounted at path", field: "target"},
	{text: "overlay has already been mounted", field: "target"},
	{text: "scratch already mounted at path", field: "target"},
	{text: "deviceHash not found", field: "deviceHash"},
	{text: "mountpoint invalid", field: "target"},
	{text: "no device at path to unmount", field: "unmountTarget"},
	{text: "received read-only unmount request, but device provided is read-write", field: "unmountTarget"},
	{text: "received read-write unmount request, but device provided is read-only", field: "unmountTarget"},
	{text: "no overlay at path to unmount", field: "unmountTarget"},
	{text: "no scratch at path to unmount", field: "unmountTarget"},
	{text: "no matching containers for overlay", field: "layerPaths"},
	{text: "unencrypted scratch not allowed, non-readonly mount request for SCSI disk must request encryption", field: "encrypted"},
	{text: "unencrypted scratch not allowed", field: "encrypted"},
	{text: "ensureFilesystem must be set on rw device mounts", field: "ensureFilesystem"},
	{text: "rw device mounts uses a filesystem that is not allowed", field: "filesystem"},
	{text: "target isn't allowed to receive the signal", field: "signal"},
	{text: "privileged escalation not allowed", field: "privileged"},
	{text: "devices not supported", field: "linux.devices"},
	{text: "invalid command", field: "process.args"},
	{text: "invalid working directory", field: "process.cwd"},
	{text: "invalid user", field: "process.user"},
	{text: "invalid noNewPrivileges", field: "process.noNewPrivileges"},
	{text: "invalid seccomp", field: "linux.seccomp"},
	{text: "invalid mount list", field: "mounts", listed: true},
	{text: "capabilities don't match", field: "process.capabilities"},
	{text: "containers only distinguishable by capabilties", field: "process.capabilities"},
	{text: "containers only distinguishable by allow_stdio_access", field: "policy.allow_stdio_access"},
	{text: "external processes only distinguishable by allow_stdio_access", field: "policy.allow_stdio_access"},
	// With dropping allowed, the environment may be named though it is not the cause: it comes last.
	{text: "missing required environment variable", field: "process.env"},
	{text: "invalid env list", field: "process.env", listed: true},
}

// Rules lists every rule a Denial can name, in the order of telling. A rule that ends in "..." goes on in its own words.
func Rules() []string {
	var rules []string
	for _, r := range reasonTable {
		if r.prefix {
			rules = append(rules, r.text+"...")
			continue
		}
		rules = append(rules, r.text)
	}
	return append(rules, fixedRules...)
}

// fixedRules are those of a refusal without a reason.
var fixedRules = []string{ruleNoReason, ruleFlag, ruleOlder, ruleNoneFits, ruleNoAnswer}

// matchReason finds the row of one reason, the rule to tell, and the names it lists.
func matchReason(reason string) (row int, rule, names string) {
	for i, r := range reasonTable {
		if reason == r.text || r.prefix && strings.HasPrefix(reason, r.text) {
			return i, reason, ""
		}
		if rest, ok := strings.CutPrefix(reason, r.text+": "); r.listed && ok {
			return i, r.text, rest
		}
	}
	return len(reasonTable), reason, ""
}

// KnownRule is the rule in the words of the table of rules, without what follows them: a policy's own words may repeat the request. It
// is "the policy's own words" for a reason that is not in the table. Unlike Rule it can be kept where no value of a request may be.
func (d *Denial) KnownRule() string {
	for _, r := range reasonTable {
		if d.Rule == r.text || r.prefix && strings.HasPrefix(d.Rule, r.text) {
			return r.text
		}
	}
	if slices.Contains(fixedRules, d.Rule) {
		return d.Rule
	}
	return "the policy's own words"
}

func newDenial(id string, row *point.Row, in Input, r *point.Refusal) *Denial {
	d := &Denial{ID: id, Point: row.Point, Container: r.Container, Reasons: r.Reasons}
	d.report = &decisionReport{row: row, in: in, refusal: r}
	d.explain()
	return d
}

// Rules of a refusal for which the contract has no reason string.
const (
	ruleNoReason  = "the policy gives no reason"
	ruleFlag      = "not allowed by the policy"
	ruleOlder     = "the policy is older than this point and does not allow it"
	ruleNoneFits  = "no single container of the policy has all that was asked"
	ruleNoAnswer  = "the policy could not give a reason"
	fieldRequest  = "request"
	fieldPolicy   = "policy"
	fieldWholeOCI = "process"
)

// explain picks the reason that tells most.
func (d *Denial) explain() {
	best := len(reasonTable)
	for _, reason := range d.Reasons {
		row, rule, names := matchReason(reason)
		if row < best || row == best && names != "" {
			best, d.Rule, d.names = row, rule, names
		}
	}
	switch {
	case best < len(reasonTable):
		d.Field = reasonTable[best].field
	case len(d.Reasons) > 0:
		d.Rule, d.Field = d.Reasons[0], fieldRequest
	default:
		d.Rule, d.Field = d.unexplained()
	}
}

// unexplained says what can be said of a refusal without reasons. The reference leaves these empty, so do our reasons, but
// a user needs to know what to change.
func (d *Denial) unexplained() (rule, field string) {
	row := d.report.row
	switch {
	case d.report.refusal.PolicyError != "":
		return ruleNoAnswer, fieldPolicy
	case d.report.refusal.ByDefault:
		return ruleOlder, "policy.api_version"
	case row.Flag != "":
		return ruleFlag, "policy." + row.Flag
	case row.Point == PointCreateContainer || row.Point == PointExecInContainer:
		return ruleNoneFits, fieldWholeOCI
	}
	return ruleNoReason, fieldRequest
}
