package emulator

import (
	"reflect"
	"testing"
)

func TestParseFault(t *testing.T) {
	for text, want := range map[string]Fault{
		"wiped":                          {Kind: FaultWiped},
		"busy,after=3,times=31":          {Kind: FaultBusy, After: 3, Times: 31},
		"throttled,wait=500":             {Kind: FaultThrottled, WaitMS: 500},
		"flip,bit=9471,count=2,after=0":  {Kind: FaultFlip, Bit: 9471, Count: 2},
		"tcb-upgrade,after=4":            {Kind: FaultTCBUpgrade, After: 4},
		"busy,wait=2000,times=1,count=1": {Kind: FaultBusy, WaitMS: 2000, Times: 1, Count: 1},
	} {
		if got, err := ParseFault(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "fire", "busy,", "busy,after", "busy,after=", "busy,after=-1", "busy,after=4294967296", "busy,after=1,after=2", "busy,when=1", "busy, after=1",
		"throttled,wait=2001",
	} {
		if got, err := ParseFault(text); err == nil {
			t.Errorf("%q: got %+v, want an error", text, got)
		}
	}
}

func TestPlayEndorsesTheUpgrade(t *testing.T) {
	a, p := testAuthority(t), testParams(t, DefaultIdentity())
	if err := a.Play(&p, []Fault{{Kind: FaultTCBUpgrade, After: 1}, {Kind: FaultTCBLag}}); err != nil {
		t.Fatal(err)
	}
	if p.Upgrade == nil || p.Upgrade.TCB.SNP != p.TCB.SNP+1 || len(p.Faults) != 2 {
		t.Errorf("got upgrade %+v", p.Upgrade)
	}
	p = testParams(t, DefaultIdentity())
	if err := a.Play(&p, []Fault{{Kind: FaultTCBLag}}); err == nil {
		t.Error("lag behind no upgrade was accepted")
	}
}
