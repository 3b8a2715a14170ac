package fragmentgen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	kjson "sigs.k8s.io/json"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/fragment"
)

// Entry is the entry of a policy's (or a fragment's) list of fragments that accepts one.
type Entry struct {
	Issuer     string   `json:"issuer"`
	Feed       string   `json:"feed"`
	MinimumSVN string   `json:"minimum_svn"`
	Includes   []string `json:"includes"`
}

// Import is the document that "--generate-import" prints, as the peers' generators read it.
type Import struct {
	Fragments []Entry `json:"fragments"`
}

// ReadImport reads such a document.
func ReadImport(data []byte) ([]Entry, error) {
	var doc Import
	strict, err := kjson.UnmarshalStrict(data, &doc)
	if err = errors.Join(append(strict, err)...); err != nil {
		return nil, err
	}
	for i, e := range doc.Fragments {
		if err := errors.Join(CheckSVN(e.MinimumSVN), CheckFeed(e.Feed), checkIncludes(e.Includes)); err != nil {
			return nil, fmt.Errorf("fragments[%d]: %w", i, err)
		}
		if !strings.HasPrefix(e.Issuer, "did:x509:") {
			return nil, fmt.Errorf("fragments[%d]: issuer: got %.128q, want a did:x509", i, e.Issuer)
		}
	}
	return doc.Fragments, nil
}

func checkIncludes(includes []string) error {
	for _, name := range includes {
		if !slices.Contains(Includes(), name) {
			return fmt.Errorf("includes: got %.64q, want some of %s", name, strings.Join(Includes(), ", "))
		}
	}
	return nil
}

// Includes are what an entry may take over from a fragment (policy contract, section 2.6).
func Includes() []string {
	return []string{"containers", "fragments", "external_processes", "transparency_trust_lists", "platform_rules", "namespace"}
}

// EntryFor is the entry that accepts a signed document and its successors. An empty minimumSVN is the document's own SVN. Without
// includes it takes what the document has now and nothing more.
func EntryFor(ctx context.Context, raw []byte, minimumSVN string, includes []string) (Entry, error) {
	f, err := fragment.Open(raw)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Issuer: f.Issuer, Feed: f.Feed, MinimumSVN: minimumSVN, Includes: includes}
	if minimumSVN == "" {
		if e.MinimumSVN, err = Load(ctx, raw); err != nil {
			return Entry{}, err
		}
	} else if err := CheckSVN(minimumSVN); err != nil {
		return Entry{}, fmt.Errorf("minimum_%w", err)
	}
	if err := checkIncludes(includes); err != nil {
		return Entry{}, err
	}
	if len(includes) == 0 {
		doc, err := Check(ctx, []byte(f.Text))
		if err != nil {
			return Entry{}, fmt.Errorf("what it includes has to be said: %w", err)
		}
		e.Includes = bring(doc.Lists())
	}
	return e, nil
}

// bring names the lists that have something in them.
func bring(lists map[string]any) []string {
	names := []string{}
	for _, name := range Includes() {
		if l, ok := lists[name].([]any); ok && len(l) > 0 {
			names = append(names, name)
		}
	}
	return names
}

// Load tries a signed document: it is loaded into an enforcer whose policy allows this issuer and feed, all lists of it. The SVN is what the
// policy compared, that of the text or the header.
func Load(ctx context.Context, raw []byte) (svn string, err error) {
	f, err := fragment.Open(raw)
	if err != nil {
		return "", err
	}
	all := Includes()
	all = all[:len(all)-1] // a package that stays is not a list
	// SVNs are numbers, or semantic versions in old fragments; a minimum must be of the same kind.
	number, version := Entry{f.Issuer, f.Feed, "0", all}, Entry{f.Issuer, f.Feed, "0.0.0", all}
	var refusal error
	for _, entry := range []Entry{number, version} {
		e, err := enforcer.Load(ctx, trialPolicy(entry), enforcer.Options{})
		if err != nil {
			return "", err
		}
		d, err := e.LoadFragment(ctx, raw, fragment.MediaTypeRego)
		if err == nil {
			return d.Document.SVN, nil
		}
		if refusal == nil {
			refusal = err
		}
	}
	return "", fmt.Errorf("a policy that allows all of it refuses the fragment: %w", told(refusal))
}

// trialPolicy allows one fragment and nothing else.
func trialPolicy(e Entry) []byte {
	entry, err := json.Marshal([]Entry{e})
	if err != nil { // strings only
		panic(err)
	}
	return []byte("package policy\n\napi_version := \"0.12.0\"\nframework_version := \"0.5.0\"\nfragments := " + string(entry) +
		"\nload_fragment := data.framework.load_fragment\nreason := {\"errors\": data.framework.errors}\n")
}
