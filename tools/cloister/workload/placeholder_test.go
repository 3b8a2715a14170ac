package workload

import "testing"

func TestPlaceholder(t *testing.T) {
	origin := Origin{File: "f", Path: "p", Line: 3}
	for in, want := range map[string]bool{
		"===CONFIDENTIAL.THIM.ENDPOINT===": true, "===VIRTUALNODE2.CC.THIM.HOST===": true, "===VIRTUALNODE2.CC.THIM.===": false,
		"x===CONFIDENTIAL.THIM.ENDPOINT===": false, "===CONFIDENTIAL_THIM_ENDPOINT===": false, "": false,
	} {
		got := Placeholder(Text{Value: in, Origin: origin})
		if got.Wildcard != want || got.Origin != origin || want && got.Value != ".*" || !want && got.Value != in {
			t.Errorf("%q: got %+v, want a wildcard: %t", in, got, want)
		}
	}
}

func TestOriginString(t *testing.T) {
	for want, o := range map[string]Origin{"f: p": {File: "f", Path: "p"}, "f:3: p": {File: "f", Path: "p", Line: 3}} {
		if got := o.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
