package network

import (
	"errors"
	"strings"
	"testing"
)

func TestResolvConf(t *testing.T) {
	tests := []struct {
		name string
		dns  []string
		want string
	}{
		{"empty", nil, ""},
		{"addresses", []string{"10.96.0.10", "2001:db8::53"}, "nameserver 10.96.0.10\nnameserver 2001:db8::53\n"},
		{
			"lines-of-a-pod",
			[]string{"# made by kubelet", "search default.svc.cluster.local svc.cluster.local", "nameserver 10.96.0.10", "options ndots:5 edns0 trust-ad"},
			"nameserver 10.96.0.10\nsearch default.svc.cluster.local svc.cluster.local\noptions ndots:5 edns0\n",
		},
		{"spelling-is-normal", []string{"nameserver\t2001:DB8:0::0053 "}, "nameserver 2001:db8::53\n"},
		{"last-search-wins", []string{"search a.example", "domain b.example."}, "search b.example.\n"},
		{"qemu-user-network", []string{"10.0.2.3"}, "nameserver 10.0.2.3\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ResolvConf(tt.dns)
			if err != nil || string(got) != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestResolvConfRefuses(t *testing.T) {
	many := make([]string, maxDNSEntries+1)
	tests := []struct {
		name string
		dns  []string
	}{
		{"loopback", []string{"127.0.0.53"}},
		{"loopback-v6", []string{"::1"}},
		{"loopback-mapped", []string{"::ffff:127.0.0.1"}},
		{"unspecified", []string{"0.0.0.0"}},
		{"unspecified-v6", []string{"nameserver ::"}},
		{"multicast", []string{"224.0.0.251"}},
		{"zone", []string{"fe80::1%eth0"}},
		{"name", []string{"dns.example"}},
		{"newline", []string{"10.0.0.1\nnameserver 127.0.0.1"}},
		{"carriage-return", []string{"10.0.0.1\rnameserver 127.0.0.1"}},
		{"nul", []string{"10.0.0.1\x00"}},
		{"two-servers-in-one", []string{"nameserver 10.0.0.1 127.0.0.1"}},
		{"sortlist", []string{"sortlist 10.0.0.0"}},
		{"search-newline", []string{"search a\nb"}},
		{"search-not-a-name", []string{"search a;b"}},
		{"search-double-dot", []string{"search a..b"}},
		{"option-unknown", []string{"options insecure"}},
		{"option-value", []string{"options ndots:5;x"}},
		{"not-ascii", []string{"search exämple"}},
		{"too-many", many},
		{"too-long", []string{"search " + strings.Repeat("a", maxDNSEntryBytes)}},
		{"nine-servers", strings.Fields(strings.Repeat("10.0.0.1 ", maxServers+1))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ResolvConf(tt.dns)
			if !errors.Is(err, ErrInvalid) || got != nil {
				t.Fatalf("got %q, %v, want ErrInvalid", got, err)
			}
			if strings.ContainsAny(err.Error(), "\n\r\x00") {
				t.Errorf("error carries raw bytes of the host: %q", err)
			}
		})
	}
}

func TestCheckHostname(t *testing.T) {
	for _, name := range []string{"web", "web-0", "Web0", "web.pods.example", strings.Repeat("a", 63), "0"} {
		if err := CheckHostname(name); err != nil {
			t.Errorf("%q: got %v, want none", name, err)
		}
	}
	for _, name := range []string{
		"", ".", "web.", ".web", "-web", "web-", "we b", "web\n127.0.0.1 evil", "web\t", "wéb", "web_0", "web/..", "a\x00b",
		strings.Repeat("a", 64), "a." + strings.Repeat("b.", 40) + "c", "localhost", "LocalHost", "ip6-loopback", "x.localhost", "10.0.0.1",
	} {
		if err := CheckHostname(name); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %v, want ErrInvalid", name, err)
		}
	}
}

const kubeletHosts = `# Kubernetes-managed hosts file.
127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::0	ip6-localnet
fe00::1	ip6-allnodes
10.244.0.7	web

# Entries added by HostAliases.
127.0.0.1	dev.example
203.0.113.5	db.example	db # trailing
`

func TestHostsFromAKubeletFile(t *testing.T) {
	aliases, err := ParseHosts([]byte(kubeletHosts))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Hosts("web", aliases)
	if err != nil {
		t.Fatal(err)
	}
	want := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"10.244.0.7\tweb\n127.0.0.1\tdev.example\n203.0.113.5\tdb.example db\n"
	if string(got) != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	// What was written reads back to the same aliases: the file is a fixed point, no entry makes another.
	again, err := ParseHosts(got)
	if err != nil || len(again) != len(aliases) {
		t.Errorf("read back: got %v, %v, want %v", again, err, aliases)
	}
}

func TestHostsNamesItself(t *testing.T) {
	got, err := Hosts("web", nil)
	if err != nil || !strings.Contains(string(got), "127.0.1.1\tweb\n") {
		t.Errorf("got %q, %v, want a line for the host name", got, err)
	}
}

func TestParseHostsRefuses(t *testing.T) {
	tests := []struct{ name, file string }{
		{"no-address", "web 10.0.0.1\n"},
		{"zone", "fe80::1%eth0 web\n"},
		{"mapped", "::ffff:10.0.0.1 web\n"},
		{"unspecified", "0.0.0.0 web\n"},
		{"name-control", "10.0.0.1 we\x07b\n"},
		{"name-vertical-tab", "10.0.0.1 a\vb\n"},
		{"name-not-ascii", "10.0.0.1 wéb\n"},
		{"name-nul", "10.0.0.1 a\x00b\n"},
		{"many-names", "10.0.0.1" + strings.Repeat(" a", maxAliasNames+1)},
		{"many-lines", strings.Repeat("10.0.0.1 a\n", maxHostAliases+1)},
		{"large", strings.Repeat("#", maxHostsBytes+1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := ParseHosts([]byte(tt.file)); !errors.Is(err, ErrInvalid) || got != nil {
				t.Errorf("got %v, %v, want ErrInvalid", got, err)
			}
		})
	}
}

// TestHostCannotMoveLocalhost: whatever address the host gives to a standard name, the file says loopback.
func TestHostCannotMoveLocalhost(t *testing.T) {
	aliases, err := ParseHosts([]byte("203.0.113.66 localhost web.example LOCALHOST ip6-localhost a.localhost\n"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Hosts("web", aliases)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(got), "203.0.113.66\tweb.example\n") {
		t.Errorf("got %q, want the one name that is not standard", got)
	}
	if _, err := Hosts("web", []HostAlias{{IP: aliases[0].IP, Names: []string{"localhost"}}}); !errors.Is(err, ErrInvalid) {
		t.Errorf("alias for localhost: got %v, want ErrInvalid", err)
	}
}

func FuzzParseHosts(f *testing.F) {
	f.Add([]byte(kubeletHosts))
	f.Add([]byte("10.0.0.1 a b # c\n\n::2\tx\r\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		aliases, err := ParseHosts(file)
		if err != nil {
			if aliases != nil {
				t.Fatal("an error came with a result")
			}
			return
		}
		out, err := Hosts("web", aliases)
		if err != nil {
			t.Fatalf("parsed aliases were refused: %v", err)
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\n"), "\n") {
			fields := strings.Fields(line)
			for _, name := range fields[1:] {
				name = strings.ToLower(name)
				if (name == "localhost" || strings.HasSuffix(name, ".localhost")) && fields[0] != "127.0.0.1" && fields[0] != "::1" {
					t.Fatalf("line %q moves localhost", line)
				}
			}
		}
		again, err := ParseHosts(out)
		if err != nil || len(again) < len(aliases) {
			t.Fatalf("written file does not read back: %v", err)
		}
	})
}

func FuzzResolvConf(f *testing.F) {
	f.Add("nameserver 10.0.0.1", "search a.example b")
	f.Add("10.0.0.1", "options ndots:5 trust-ad")
	f.Add("# x", "127.0.0.1")
	f.Fuzz(func(t *testing.T, a, b string) {
		out, err := ResolvConf([]string{a, b})
		if err != nil {
			return
		}
		for line := range strings.Lines(string(out)) {
			word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			switch word {
			case "nameserver":
				if strings.HasPrefix(rest, "127.") || rest == "::1" || strings.Contains(rest, "ffff:7f") {
					t.Fatalf("loopback server %q", rest)
				}
			case "search", "options":
				if strings.ContainsAny(rest, "\t\r;#") {
					t.Fatalf("odd byte in %q", line)
				}
			default:
				t.Fatalf("line %q was not ours to write", line)
			}
		}
	})
}
