package share

import (
	"testing"

	"github.com/cloister-cc/cloister/agent/network"
)

// FuzzHostLines: whatever a hosts file holds, the agent takes what is made of it, and writes its own of it.
func FuzzHostLines(f *testing.F) {
	f.Add([]byte("127.0.0.1\tlocalhost\n10.0.0.1 web web.local # x\n0.0.0.0 ads\r\n::1 localhost\n"))
	f.Add([]byte("1.2.3.4 a_b \xff\n1.2.3.4"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > maxHosts {
			return
		}
		list, err := network.ParseHosts(hostLines(text))
		if err != nil {
			t.Fatalf("got %q: %v", hostLines(text), err)
		}
		if _, err := network.Hosts("pod", list); err != nil {
			t.Error(err)
		}
	})
}
