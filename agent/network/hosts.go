package network

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// Limits of a hosts file.
const (
	maxHostsBytes   = 64 << 10
	maxHostAliases  = 1024
	maxAliasNames   = 32
	maxDomainLength = 253
	// maxHostname is the kernel's __NEW_UTS_LEN.
	maxHostname = 64
)

// HostAlias is one line of a hosts file: an address and the names for it.
type HostAlias struct {
	IP    netip.Addr
	Names []string
}

var (
	hostLabel   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	domainLabel = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)
)

// standardNames are written by Hosts itself. Nobody else may give them an address: a program that talks to "localhost"
// expects this machine, and the broker is there.
var standardNames = map[string]bool{
	"localhost": true, "localhost.localdomain": true, "localhost4": true, "localhost6": true, "ip6-localhost": true,
	"ip6-loopback": true, "ip6-localnet": true, "ip6-mcastprefix": true, "ip6-allnodes": true, "ip6-allrouters": true,
	"ip6-allhosts": true,
}

// CheckHostname tells whether a name may become the sandbox's host name: labels of letters, digits and inner hyphens,
// at most 64 bytes as the kernel wants it, and not a name for loopback. It ends up in /etc/hostname, /etc/hosts and
// the UTS namespace, so a space or a newline would be another entry.
func CheckHostname(name string) error {
	if len(name) > maxHostname {
		return invalid("hostname: got %d bytes, want at most %d", len(name), maxHostname)
	}
	for label := range strings.SplitSeq(name, ".") {
		if !hostLabel.MatchString(label) {
			return invalid("hostname %s: want labels of letters, digits and inner hyphens", quote(name))
		}
	}
	if isStandardName(name) {
		return invalid("hostname %s: names of loopback are refused", quote(name))
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return invalid("hostname %s: an address is no name", quote(name))
	}
	return nil
}

// isDomain accepts a domain name as the DNS uses it: labels may hold underscores.
func isDomain(name string) bool {
	if len(name) > maxDomainLength {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if !domainLabel.MatchString(label) {
			return false
		}
	}
	return true
}

func isStandardName(name string) bool {
	name = strings.ToLower(name)
	return standardNames[name] || strings.HasSuffix(name, ".localhost")
}

// Hostname writes /etc/hostname.
func Hostname(name string) ([]byte, error) {
	if err := CheckHostname(name); err != nil {
		return nil, err
	}
	return []byte(name + "\n"), nil
}

// ParseHosts reads a hosts file the host copied, line by line, and keeps only what a hosts file can mean. Lines for the
// standard names are dropped, because Hosts writes them itself; any other oddity is refused.
func ParseHosts(file []byte) ([]HostAlias, error) {
	if len(file) > maxHostsBytes {
		return nil, invalid("hosts: got %d bytes, want at most %d", len(file), maxHostsBytes)
	}
	var aliases []HostAlias
	for line := range bytes.SplitSeq(file, []byte("\n")) {
		text, _, _ := strings.Cut(string(line), "#")
		fields := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\t' || r == '\r' })
		if len(fields) == 0 {
			continue
		}
		alias, err := parseAlias(fields)
		if err != nil {
			return nil, err
		}
		if len(alias.Names) == 0 {
			continue
		}
		if len(aliases) == maxHostAliases {
			return nil, invalid("hosts: got more than %d lines", maxHostAliases)
		}
		aliases = append(aliases, alias)
	}
	return aliases, nil
}

func parseAlias(fields []string) (HostAlias, error) {
	addr, err := parseIP("hosts: address", fields[0])
	if err != nil {
		return HostAlias{}, err
	}
	alias := HostAlias{IP: addr}
	for _, name := range fields[1:] {
		if !isStandardName(name) {
			alias.Names = append(alias.Names, name)
		}
	}
	if len(alias.Names) == 0 {
		return alias, nil
	}
	return alias, checkAlias(alias)
}

func checkAlias(alias HostAlias) error {
	if !alias.IP.IsValid() || alias.IP.Zone() != "" || alias.IP.Is4In6() {
		return invalid("hosts: address %s is refused", quote(alias.IP.String()))
	}
	if alias.IP.IsUnspecified() || alias.IP.IsMulticast() {
		return invalid("hosts: address %s: unspecified and multicast addresses are refused", alias.IP)
	}
	if n := len(alias.Names); n == 0 || n > maxAliasNames {
		return invalid("hosts: address %s: got %d names, want 1 to %d", alias.IP, n, maxAliasNames)
	}
	for _, name := range alias.Names {
		if !isDomain(name) || isStandardName(name) {
			return invalid("hosts: address %s: name %s is refused", alias.IP, quote(name))
		}
	}
	return nil
}

// Hosts writes /etc/hosts: the standard lines, the host name, the aliases.
func Hosts(hostname string, aliases []HostAlias) ([]byte, error) {
	if err := CheckHostname(hostname); err != nil {
		return nil, err
	}
	if len(aliases) > maxHostAliases {
		return nil, invalid("hosts: got %d aliases, want at most %d", len(aliases), maxHostAliases)
	}
	var b bytes.Buffer
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	named := false
	for _, alias := range aliases {
		if err := checkAlias(alias); err != nil {
			return nil, err
		}
		for _, name := range alias.Names {
			named = named || strings.EqualFold(name, hostname)
		}
	}
	if !named {
		// A machine must be able to resolve its own name; the pod's address is better, when an alias brings it.
		fmt.Fprintf(&b, "127.0.1.1\t%s\n", hostname)
	}
	for _, alias := range aliases {
		fmt.Fprintf(&b, "%s\t%s\n", alias.IP, strings.Join(alias.Names, " "))
	}
	return b.Bytes(), nil
}
