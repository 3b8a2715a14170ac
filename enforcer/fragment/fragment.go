package fragment

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/point"
)

const (
	// MaxSize bounds a document.
	MaxSize = cose.MaxMessage
	// maxNamespace is far above what a tool writes, and keeps refusals short.
	maxNamespace = 128
)

// Fragment is a fragment whose signature holds and whose issuer is who signed it. Nothing else is known of its text.
type Fragment struct {
	Issuer, Feed string
	// HeaderSVN is nil when the signed header has none.
	HeaderSVN *int64
	// Namespace is the package that the first line of Text names.
	Namespace string
	Text      string
	// Receipts are those that VerifyReceipts found to hold.
	Receipts []point.Receipt

	message *cose.Sign1
}

// Open reads a fragment.
func Open(raw []byte) (*Fragment, error) {
	doc, err := open(raw)
	if err != nil {
		return nil, err
	}
	f := &Fragment{
		Issuer: doc.Issuer, Feed: doc.Feed, HeaderSVN: doc.SVN, Text: string(doc.Payload), message: doc.Message,
	}
	if f.Namespace, err = Namespace(f.Text); err != nil {
		return nil, err
	}
	if aci.Nesting(doc.Payload) > aci.MaxNesting {
		return nil, &Error{ReasonRego, fmt.Errorf("brackets nest deeper than %d", aci.MaxNesting)}
	}
	return f, nil
}

// open verifies chain and signature and resolves the issuer.
func open(raw []byte) (*cose.Document, error) {
	if err := checkSize(raw); err != nil {
		return nil, err
	}
	doc, err := cose.Open(raw, cose.Options{})
	if err != nil {
		return nil, documentError(err)
	}
	return doc, nil
}

func checkSize(raw []byte) error {
	if len(raw) > MaxSize {
		return &Error{ReasonSize, fmt.Errorf("got %d bytes, want at most %d", len(raw), MaxSize)}
	}
	return nil
}

// OpenTrustList reads a transparency trust list.
func OpenTrustList(raw []byte) (*cose.TrustList, error) {
	if err := checkSize(raw); err != nil {
		return nil, err
	}
	list, err := cose.OpenTrustList(raw, cose.Options{})
	if errors.Is(err, cose.ErrTrustList) {
		return nil, &Error{ReasonTrustList, err}
	}
	if err != nil {
		return nil, documentError(err)
	}
	return list, nil
}

// CheckReference says whether a document is signed by its own chain. Reference information is kept for workloads, which judge its issuer
// themselves.
func CheckReference(raw []byte) error {
	if err := checkSize(raw); err != nil {
		return err
	}
	message, err := cose.Parse(raw, cose.Options{})
	if err == nil {
		err = message.Verify()
	}
	if err != nil {
		return documentError(err)
	}
	return nil
}

// VerifyReceipts keeps the receipts that a key of the lists verifies, one a ledger.
func (f *Fragment) VerifyReceipts(lists []*cose.TrustList) {
	f.Receipts = nil
	if f.message == nil || len(lists) == 0 {
		return
	}
	verified, _ := f.message.VerifyReceipts(lists...)
	for _, v := range verified {
		at := slices.IndexFunc(f.Receipts, func(r point.Receipt) bool { return r.Issuer == v.Issuer })
		if at < 0 {
			f.Receipts = append(f.Receipts, point.Receipt{Issuer: v.Issuer, TTLSubjects: v.Subjects})
			continue
		}
		r := &f.Receipts[at]
		r.TTLSubjects = append(slices.Clone(r.TTLSubjects), v.Subjects...)
		slices.Sort(r.TTLSubjects)
		r.TTLSubjects = slices.Compact(r.TTLSubjects)
	}
}

// Input is what load_fragment is asked about the fragment: first what its header says, then, when loaded, the whole.
func (f *Fragment) Input(loaded bool) point.LoadFragmentInput {
	return point.LoadFragmentInput{
		Issuer: f.Issuer, Feed: f.Feed, Namespace: f.Namespace, FragmentLoaded: loaded,
		HasHeaderSVN: f.HeaderSVN != nil, HeaderSVN: f.HeaderSVN, Receipts: f.Receipts,
	}
}

// packageLine is a whole first line. Anything else on it (a comment, a semicolon, a second package clause behind a character that
// some readers take for the end of a line) could make the engine see another package than the policy was asked about.
var packageLine = regexp.MustCompile(`^package ([A-Za-z_][A-Za-z0-9_]*)$`)

// Reserved are the packages and documents that the agent puts beside a policy.
var Reserved = []string{
	"framework", "api", "policy", "metadata", "agent_policy", "defaultMounts", "privilegedMounts", "sandboxPrefix",
	"hugePagesPrefix", "plan9Prefix", "defaultUnprivilegedCapabilities", "defaultPrivilegedCapabilities",
}

// Namespace is the package that a text names on its first line, which must have nothing else on it.
func Namespace(text string) (string, error) {
	line, _, _ := strings.Cut(text, "\n")
	line = strings.TrimSuffix(line, "\r")
	match := packageLine.FindStringSubmatch(line)
	switch {
	case match == nil:
		return "", &Error{ReasonNamespace, fmt.Errorf("the first line: got %s, want \"package NAME\" and nothing else", point.Quote(line))}
	case len(match[1]) > maxNamespace:
		return "", &Error{ReasonNamespace, fmt.Errorf("got %d characters, want at most %d", len(match[1]), maxNamespace)}
	case slices.Contains(Reserved, match[1]):
		return "", &Error{ReasonNamespace, fmt.Errorf("package %s is the agent's", match[1])}
	case !utf8.ValidString(text):
		return "", &Error{ReasonRego, errors.New("the text is not UTF-8")}
	}
	return match[1], nil
}
