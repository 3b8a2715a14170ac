package fragmentgen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/tools/cloister/acigen"
	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
)

// DefaultFramework is the framework_version of a text whose containers do not come with one: what the peers' tools write, and every
// guest understands (services contract, section 2.3).
const DefaultFramework = "0.2.3"

// Text is what a fragment says.
type Text struct {
	Namespace string // of the Rego package
	SVN       string // decimal, 0 or more
	// FrameworkVersion is DefaultFramework if it is empty.
	FrameworkVersion string
	// Fragments are those that this one allows in its turn.
	Fragments []Entry
	// Containers are JSON objects of the policy contract's form, section 3.2.
	Containers []json.RawMessage
}

// Rego writes the text (services contract, section 2.3). With pretty each member of a container has a line of its own.
func (t Text) Rego(pretty bool) ([]byte, error) {
	if err := CheckNamespace(t.Namespace); err != nil {
		return nil, err
	}
	if err := CheckSVN(t.SVN); err != nil {
		return nil, err
	}
	framework := t.FrameworkVersion
	if framework == "" {
		framework = DefaultFramework
	}
	fragments, err := list(t.Fragments, true)
	if err != nil {
		return nil, err
	}
	containers, err := list(t.Containers, pretty)
	if err != nil {
		return nil, fmt.Errorf("containers: %w", err)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "package %s\n\nsvn := %q\nframework_version := %q\n\nfragments := %s\n\ncontainers := %s\n", t.Namespace, t.SVN, framework, fragments, containers)
	return out.Bytes(), nil
}

// list writes a JSON array with the keys of its objects sorted.
func list[T any](items []T, pretty bool) ([]byte, error) {
	raw, err := json.Marshal(items)
	if err != nil {
		return nil, err
	}
	var sorted []any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&sorted); err != nil {
		return nil, err
	}
	if len(sorted) == 0 {
		return []byte("[]"), nil
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if pretty {
		encoder.SetIndent("", "  ")
	}
	err = encoder.Encode(sorted)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

// CheckNamespace refuses names that are no Rego identifier or that the agent keeps for itself.
func CheckNamespace(name string) error {
	if strings.ContainsAny(name, "\r\n") {
		return fmt.Errorf("namespace %.128q: it is more than one line", name)
	}
	if _, err := fragment.Namespace("package " + name + "\n"); err != nil {
		return fmt.Errorf("namespace %.128q: %w (want letters, digits and _, and none of %s)", name, cause(err), strings.Join(fragment.Reserved, ", "))
	}
	return acigen.CheckNamespace(name)
}

// cause takes the enforcer's class off an error whose caller has said it already.
func cause(err error) error {
	var refused *fragment.Error
	if errors.As(err, &refused) {
		return refused.Err
	}
	return err
}

// CheckSVN wants a decimal number, 0 or more, written the one way.
func CheckSVN(svn string) error {
	n, err := strconv.ParseInt(svn, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != svn {
		return fmt.Errorf("svn: got %.32q, want an integer, 0 or more", svn)
	}
	return nil
}

var feedForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:@+-]*$`)

// CheckFeed wants the form of a repository's name, as the peers' feeds have it: no scheme, no blanks, no control characters.
func CheckFeed(feed string) error {
	switch {
	case feed == "":
		return errors.New("feed: it is empty, want the name that policies know this fragment by, e.g. registry.example/infra")
	case len(feed) > cose.MaxFeed:
		return fmt.Errorf("feed: got %d bytes, want at most %d", len(feed), cose.MaxFeed)
	case strings.Contains(feed, "://"):
		return fmt.Errorf("feed: got %.128q, want a name without %q", feed, feed[:strings.Index(feed, "://")+3])
	case !feedForm.MatchString(feed):
		return fmt.Errorf("feed: got %.128q, want letters, digits and ._/:@+- only, a letter or digit first", feed)
	}
	return nil
}

// FeedHasTag says whether a feed ends in a tag or digest: then each version is a feed of its own, and policies cannot follow the fragment.
func FeedHasTag(feed string) bool {
	last := feed[strings.LastIndex(feed, "/")+1:]
	return strings.ContainsAny(last, ":@") && strings.Contains(feed, "/")
}

// Check reads a text as the enforcer will, and refuses what would make it mean less than it says. It cannot read a text that asks for
// parameters: such a one is judged when the signed document is loaded.
func Check(ctx context.Context, text []byte) (*policydoc.Policy, error) {
	if len(text) > fragment.MaxSize {
		return nil, fmt.Errorf("fragment text: got %d bytes, want at most %d", len(text), fragment.MaxSize)
	}
	if _, err := fragment.Namespace(string(text)); err != nil {
		return nil, err
	}
	doc, err := policydoc.ReadFragment(ctx, string(text))
	if err != nil {
		return nil, fmt.Errorf("fragment text: %w", err)
	}
	if len(doc.Problems) > 0 {
		return nil, fmt.Errorf("fragment text: %w", problems(doc.Problems))
	}
	return doc, nil
}

// maxProblems bounds how many are told at once.
const maxProblems = 10

func problems(list []policydoc.Problem) error {
	var errs []error
	for i, p := range list {
		if i == maxProblems {
			errs = append(errs, fmt.Errorf("and %d more", len(list)-i))
			break
		}
		errs = append(errs, fmt.Errorf("%s: %s", p.Path, p.Text))
	}
	return errors.Join(errs...)
}
