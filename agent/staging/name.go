package staging

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// SharedDir is the directory in which Kata's shims believe to write.
const SharedDir = "/run/kata-containers/shared/containers/"

// Bounds of names. A path is the top entry and at most maxDepth-1 components below it.
const (
	maxDepth      = 16
	maxComponent  = 255
	maxPart       = 128
	maxPath       = 1024
	maxLinkTarget = 1024
)

var (
	topName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`) // and at most maxComponent bytes
	// mountable is the form the shims give to what they will mount: the owner's id, 8 (Rust) or 16 (Go) hex digits, the
	// last component of the mount's destination. An id may be a UUID, whose groups are of neither length after the first.
	// The owner and the last component are at most maxPart bytes.
	mountable = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9_.-]*?)-([0-9a-f]{8}|[0-9a-f]{16})-([A-Za-z0-9_.-]+)$`)
)

// Name is the parsed name of a top entry that a container can be given.
type Name struct {
	Entry string // the whole name
	Owner string // the id of the container or sandbox it was copied for, as the host says
	Base  string // what the agent's own name for it ends in
}

// ParseName reads a mount source, or the bare name of a top entry, of the form <id>-<hex>-<name>.
func ParseName(source string) (Name, error) {
	entry := strings.TrimPrefix(source, SharedDir)
	m := mountable.FindStringSubmatch(entry)
	if len(entry) > maxComponent || m == nil || len(m[1]) > maxPart || len(m[3]) > maxPart || m[3] == "." || m[3] == ".." {
		return Name{}, invalid("entry %s: want the form <id>-<hex>-<name>", quote(entry))
	}
	return Name{Entry: entry, Owner: m[1], Base: m[3]}, nil
}

// split turns the host's path into components beneath the area. It accepts one spelling only: what is not already clean
// is refused, not cleaned.
func split(path string) ([]string, error) {
	if len(path) > maxPath {
		return nil, invalid("copy file: got a path of %d bytes, want at most %d", len(path), maxPath)
	}
	rest, ok := strings.CutPrefix(path, SharedDir)
	if !ok {
		return nil, invalid("copy file %s: want a path below %s", quote(path), SharedDir)
	}
	parts := strings.Split(rest, "/")
	if len(parts) > maxDepth {
		return nil, invalid("copy file %s: got %d components, want at most %d", quote(path), len(parts), maxDepth)
	}
	for i, part := range parts {
		if i == 0 && !topName.MatchString(part) || !isComponent(part) {
			return nil, invalid("copy file %s: component %d is refused", quote(path), i+1)
		}
	}
	return parts, nil
}

// isComponent tells whether a name can be one directory entry: not a step in the tree, no control characters (they
// would forge lines wherever a name is listed).
func isComponent(s string) bool {
	if s == "" || s == "." || s == ".." || len(s) > maxComponent || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r == '/' || unicode.IsControl(r) })
}

// checkTarget tells whether a link at parts may point to target: relative, inside its own top entry, and with ".." at
// the front only. "a/.." is refused because a may be a link, and then the kernel ends up elsewhere than the text says.
func checkTarget(parts []string, target string) error {
	if len(target) == 0 || len(target) > maxLinkTarget {
		return invalid("copy link: got a target of %d bytes, want 1 to %d", len(target), maxLinkTarget)
	}
	depth := len(parts) - 1 // directories between the area and the link; 1 is the top entry
	if depth == 0 {
		return invalid("copy link %s: a top entry cannot be a link", quote(parts[0]))
	}
	down := false
	for part := range strings.SplitSeq(target, "/") {
		switch {
		case part == ".." && !down:
			depth--
		case isComponent(part):
			down = true
		default:
			return invalid("copy link %s: target %s is refused", quote(parts[0]), quote(target))
		}
		if depth < 1 {
			return invalid("copy link %s: target %s leaves its entry", quote(parts[0]), quote(target))
		}
	}
	return nil
}
