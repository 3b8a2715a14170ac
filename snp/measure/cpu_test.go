package measure

import (
	"slices"
	"testing"
)

func TestSignature(t *testing.T) {
	for _, c := range []struct {
		family, model, stepping int
		want                    CPU
	}{
		{14, 1, 2, 0x0e12}, // sev-snp-measure, tests/test_vcpu_types.py
		{23, 1, 2, 0x800f12},
		{15, 0, 0, 0xf00}, // the last family without an extension
		{16, 0xab, 3, 0x1a0fb3},
		{270, 0xff, 15, 0xfff0fff},
	} {
		if got, err := Signature(c.family, c.model, c.stepping); err != nil || got != c.want {
			t.Errorf("%d/%d/%d: got %#x %v, want %#x", c.family, c.model, c.stepping, got, err, c.want)
		}
	}
	for _, bad := range [][3]int{{271, 0, 0}, {-1, 0, 0}, {23, 256, 0}, {23, -1, 0}, {23, 0, 16}, {23, 0, -1}} {
		if got, err := Signature(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%v: got %#x, want an error", bad, got)
		}
	}
}

func TestCPUTypes(t *testing.T) {
	for name, want := range map[string]CPU{
		"EPYC": 0x800f12, "EPYC-v1": 0x800f12, "EPYC-v4": 0x800f12, "EPYC-IBPB": 0x800f12, "EPYC-Rome": 0x830f10, "EPYC-Rome-v5": 0x830f10,
		"EPYC-Milan": 0xa00f11, "EPYC-Milan-v2": 0xa00f11, "EPYC-Genoa": 0xa10f10, "EPYC-Genoa-v2": 0xa10f10, "EPYC-Turin": 0xb00f00, "EPYC-Turin-v1": 0xb00f00,
	} {
		if got, err := CPUType(name); err != nil || got != want {
			t.Errorf("%s: got %#x %v, want %#x", name, got, err, want)
		}
	}
	for _, bad := range []string{"", "epyc", "EPYC-v6", "EPYC-v0", "EPYC-Turin-v2", "EPYC-Milan-IBPB", "host"} {
		if got, err := CPUType(bad); err == nil {
			t.Errorf("%q: got %#x, want an error", bad, got)
		}
	}
	all := CPUTypes()
	if !slices.Contains(all, DefaultCPUType) || len(slices.Compact(slices.Sorted(slices.Values(all)))) != len(all) {
		t.Errorf("got %q, want each name once and the default among them", all)
	}
}
