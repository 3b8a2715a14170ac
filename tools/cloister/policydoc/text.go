package policydoc

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cloister-cc/cloister/enforcer/entry"
)

// Texts of entries: equal for entries that mean the same, and fit to be read.

func texts[T any](list []T, text func(T) string) []string {
	out := make([]string, 0, len(list))
	for _, item := range list {
		out = append(out, text(item))
	}
	return out
}

// Words are the arguments of a command, quoted, so that one with a space in it does not look like two.
func Words(list []string) string {
	return strings.Join(texts(list, strconv.Quote), " ")
}

func commandText(c *entry.Container) string {
	if c.CommandNull {
		return "null"
	}
	return Words(c.Command)
}

// IDNameText is a constraint on a user or group.
func IDNameText(n entry.IDName) string {
	if n.Strategy == "any" {
		return "any"
	}
	return n.Strategy + " " + strconv.Quote(n.Pattern)
}

func userText(u *entry.User) string {
	if u == nil {
		return "none"
	}
	groups := texts(u.GroupIDNames, IDNameText)
	slices.Sort(groups)
	return fmt.Sprintf("%s, groups %s, umask %s", IDNameText(u.UserIDName), strings.Join(slices.Compact(groups), " or "), u.Umask)
}

// EnvRuleText is a rule about environment variables.
func EnvRuleText(r *entry.EnvRule) string {
	var parts []string
	if r.Whole {
		parts = append(parts, r.Strategy+" "+strconv.Quote(r.Pattern))
	}
	if r.Split {
		parts = append(parts, fmt.Sprintf("name %s %q value %s %q", r.NameStrategy, r.Name, r.ValueStrategy, r.Value))
	}
	if r.Required {
		parts = append(parts, "required")
	}
	return strings.Join(parts, " ")
}

// MountText is a constraint on a mount.
func MountText(m *entry.Mount) string {
	options := slices.Sorted(slices.Values(m.Options))
	return fmt.Sprintf("%q %s from %q, %s", m.Destination, m.Type, m.Source, strings.Join(options, " "))
}

func signalText(n int64) string { return strconv.FormatInt(n, 10) }

func execText(e *entry.ExecProcess) string {
	signals := slices.Clone(e.Signals)
	slices.Sort(signals)
	text := Words(e.Command)
	if len(signals) > 0 {
		text += ", signals " + strings.Join(texts(slices.Compact(signals), signalText), " ")
	}
	return text
}

// The key of a fragment is its issuer and feed; its text follows after a line break.
func fragmentText(f *entry.Fragment) string {
	includes, receipts := slices.Sorted(slices.Values(f.Includes)), slices.Sorted(slices.Values(f.RequiredReceipts))
	return fmt.Sprintf("%s %s\nminimum_svn %s, includes %s, receipts %s, parameters %v",
		f.Feed, f.Issuer, f.MinimumSVN, strings.Join(includes, " "), strings.Join(receipts, " "), f.Parameterized)
}

func trustListText(t *entry.TrustList) string {
	ledgers := slices.Sorted(slices.Values(t.AllowedLedgers))
	return fmt.Sprintf("%s %s\nminimum_svn %d, ledgers %s", t.Subject, t.Issuer, t.MinimumSVN, strings.Join(ledgers, " "))
}

func platformTexts(list []*entry.PlatformRule) []string {
	return texts(list, func(r *entry.PlatformRule) string {
		rules, mounts := texts(r.EnvRules, EnvRuleText), texts(r.Mounts, MountText)
		slices.Sort(rules)
		slices.Sort(mounts)
		return fmt.Sprintf("env rules: %s; mounts: %s", strings.Join(rules, "; "), strings.Join(mounts, "; "))
	})
}

// Identity is what a container allows, in texts that are equal when it is. Names and ids are not in it.
type Identity struct {
	EnvRules, Capabilities string
	Stdio                  bool
	Rest                   string
}

// IdentityOf returns a container's.
func IdentityOf(c *entry.Container) Identity {
	sorted := func(list []string) string {
		slices.Sort(list)
		return strings.Join(list, "\n")
	}
	id := Identity{EnvRules: sorted(texts(c.EnvRules, EnvRuleText)), Stdio: c.AllowStdioAccess}
	if s := c.Capabilities; s != nil {
		for _, set := range [][]string{s.Bounding, s.Effective, s.Inheritable, s.Permitted, s.Ambient} {
			id.Capabilities += strings.Join(slices.Compact(slices.Sorted(slices.Values(set))), " ") + "\n"
		}
	}
	id.Rest = strings.Join([]string{
		fmt.Sprint(c.Present &^ (entry.FieldID | entry.FieldName)), commandText(c), Words(c.Layers), strconv.Quote(c.WorkingDir),
		userText(c.User), strconv.Quote(c.SeccompProfileSHA256), fmt.Sprint(c.AllowElevated, c.NoNewPrivileges),
		sorted(texts(c.Mounts, MountText)), sorted(texts(c.ExecProcesses, execText)), sorted(texts(c.Signals, signalText)),
	}, "\x00")
	return id
}
