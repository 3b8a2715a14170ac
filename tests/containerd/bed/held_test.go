package bed

import (
	"slices"
	"testing"
)

// TestDifference: what came, what went, and how often; order does not count.
func TestDifference(t *testing.T) {
	before := Held{"mount": {"/a", "/b", "/b"}, "link": {"veth0"}}
	cases := []struct {
		name string
		now  Held
		want []string
	}{
		{"same", Held{"mount": {"/b", "/a", "/b"}, "link": {"veth0"}}, nil},
		{"new", Held{"mount": {"/a", "/b", "/b", "/c"}, "link": {"veth0"}}, []string{"new mount: /c"}},
		{"twice", Held{"mount": {"/a", "/a", "/b", "/b"}, "link": {"veth0"}}, []string{"new mount: /a"}},
		{"gone", Held{"mount": {"/a", "/b"}, "link": {}}, []string{"gone link: veth0", "gone mount: /b"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := c.now.Difference(before); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestParseLog(t *testing.T) {
	got, err := parseLog("2026-01-02T03:04:05.000000006Z stdout F a line\n2026-01-02T03:04:05Z stderr P  half\n2026-01-02T03:04:05Z stdout F \n")
	want := []LogLine{{"stdout", false, "a line"}, {"stderr", true, " half"}, {"stdout", false, ""}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"no time\n", "yesterday stdout F x\n"} {
		if _, err := parseLog(bad); err == nil {
			t.Errorf("%q: got no error", bad)
		}
	}
}
