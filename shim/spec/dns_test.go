package spec

import (
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/agent/network"
)

func TestDNSBounds(t *testing.T) {
	kept, notes := DNS([]byte(strings.Repeat("nameserver 10.0.0.1\n", 10000)))
	if len(kept) == 0 || len(kept) > maxLines || len(notes) > maxRead+1 {
		t.Errorf("got %d lines and %d notes", len(kept), len(notes))
	}
	if _, err := network.ResolvConf(kept); err != nil {
		t.Error(err)
	}
}

// FuzzDNS: whatever a resolv.conf holds, the agent takes what is made of it.
func FuzzDNS(f *testing.F) {
	f.Add([]byte("search a.b c\nnameserver 10.0.0.10\nnameserver fe80::1%eth0\noptions ndots:5 nope trust-ad\n"))
	f.Add([]byte("nameserver 127.0.0.53\ndomain x\nsortlist 1.2.3.4\noptions\n\toptions\tedns0"))
	f.Fuzz(func(t *testing.T, text []byte) {
		kept, _ := DNS(text)
		if _, err := network.ResolvConf(kept); err != nil {
			t.Errorf("got %q: %v", kept, err)
		}
	})
}
