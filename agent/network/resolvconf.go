package network

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// Limits of resolv.conf; glibc uses three servers and 6 or 32 domains by version, musl three servers and 256 bytes.
const (
	maxDNSEntries    = 32
	maxDNSEntryBytes = 2048
	maxServers       = 8
	maxSearchDomains = 32
)

// resolverOption is what resolv.conf(5) options look like; which of them are kept is in resolverOptions.
var resolverOption = regexp.MustCompile(`^[a-z0-9-]{1,32}(:[0-9]{1,3})?$`)

// resolverOptions are the options that are kept. "trust-ad" is known and left out: it makes programs believe that the
// name server checked DNSSEC, and the name server is the host's.
var resolverOptions = map[string]bool{
	"attempts": true, "edns0": true, "inet6": true, "ndots": true, "no-aaaa": true, "no-check-names": true,
	"no-reload": true, "no-tld-query": true, "rotate": true, "single-request": true, "single-request-reopen": true,
	"timeout": true, "use-vc": true, "trust-ad": false, "debug": false,
}

// resolver is what resolv.conf will say.
type resolver struct {
	servers []netip.Addr
	search  []string
	options []string
}

// ResolvConf writes resolv.conf from the dns list of CreateSandbox. An entry is a literal address or, as Kata's shim
// sends them, one line of the pod's resolv.conf. Nothing is copied: each value is parsed and written again, so that an
// entry cannot bring a line of its own.
func ResolvConf(dns []string) ([]byte, error) {
	if len(dns) > maxDNSEntries {
		return nil, invalid("resolv.conf: got %d entries, want at most %d", len(dns), maxDNSEntries)
	}
	var r resolver
	for _, entry := range dns {
		if err := r.add(entry); err != nil {
			return nil, err
		}
	}
	return r.bytes(), nil
}

func (r *resolver) add(entry string) error {
	if len(entry) > maxDNSEntryBytes {
		return invalid("resolv.conf: got an entry of %d bytes, want at most %d", len(entry), maxDNSEntryBytes)
	}
	for i := range len(entry) {
		if c := entry[i]; c != '\t' && (c < ' ' || c > '~') {
			return invalid("resolv.conf: entry %s has a byte that is not printable ASCII", quote(entry))
		}
	}
	if text := strings.TrimSpace(entry); text == "" || text[0] == '#' || text[0] == ';' {
		return nil
	}
	fields := strings.Fields(entry)
	if len(fields) == 1 {
		return r.addServer(fields[0])
	}
	switch fields[0] {
	case "nameserver":
		if len(fields) != 2 {
			return invalid("resolv.conf: entry %s: want one address after nameserver", quote(entry))
		}
		return r.addServer(fields[1])
	case "search", "domain":
		return r.addSearch(fields[1:])
	case "options":
		return r.addOptions(fields[1:])
	}
	return invalid("resolv.conf: entry %s: want an address, nameserver, search, domain or options", quote(entry))
}

// addServer takes literal addresses only. Loopback and unspecified ones would point the workload's resolver at whatever
// listens inside the guest.
func (r *resolver) addServer(s string) error {
	addr, err := parseHostIP("resolv.conf: server", s)
	if err != nil {
		return err
	}
	if len(r.servers) == maxServers {
		return invalid("resolv.conf: got more than %d servers", maxServers)
	}
	r.servers = append(r.servers, addr)
	return nil
}

func (r *resolver) addSearch(domains []string) error {
	if len(domains) > maxSearchDomains {
		return invalid("resolv.conf: got %d search domains, want at most %d", len(domains), maxSearchDomains)
	}
	for _, d := range domains {
		if d != "." && !isDomain(strings.TrimSuffix(d, ".")) {
			return invalid("resolv.conf: search domain %s is not a domain name", quote(d))
		}
	}
	r.search = domains // the last line wins, as in the resolver
	return nil
}

func (r *resolver) addOptions(options []string) error {
	for _, o := range options {
		name, _, _ := strings.Cut(o, ":")
		keep, known := resolverOptions[name]
		if !known || !resolverOption.MatchString(o) {
			return invalid("resolv.conf: option %s is not known", quote(o))
		}
		if keep && len(r.options) < len(resolverOptions) {
			r.options = append(r.options, o)
		}
	}
	return nil
}

func (r *resolver) bytes() []byte {
	var b bytes.Buffer
	for _, s := range r.servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(r.search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.search, " "))
	}
	if len(r.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(r.options, " "))
	}
	return b.Bytes()
}
