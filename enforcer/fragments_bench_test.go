package enforcer_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

// BenchmarkEngineWithoutFragments is what a decision of the engine costs while no fragment is loaded: that fragments exist must
// not be paid for by those who use none.
func BenchmarkEngineWithoutFragments(b *testing.B) {
	opts := enforcer.Options{Judge: enforcer.JudgeOPA, DefaultMounts: aci.DefaultMounts(), PrivilegedMounts: aci.PrivilegedMounts()}
	for _, framework := range []string{"0.5.0", "0.2.3"} {
		for _, n := range []int{1, 100} {
			containers := benchContainers(n)
			text := replaceOnce(b, policyText(b, containers), `"0.5.0"`, `"`+framework+`"`)
			b.Run(fmt.Sprintf("mount_device/framework=%s/containers=%d", framework, n), func(b *testing.B) {
				e := load(b, text, opts)
				in := enforcer.MountDeviceInput{Target: target(1), DeviceHash: containers[n-1].Layers[5], MountPathRegex: scsi}
				benchDecide(b, e, in)
			})
			b.Run(fmt.Sprintf("create_container/framework=%s/containers=%d", framework, n), func(b *testing.B) {
				e := load(b, text, opts)
				benchAdmit(b, e, containers[n-1])
				benchDecide(b, e, benchRequest(containers[n-1]))
			})
		}
	}
}

func benchDecide(b *testing.B, e *enforcer.Enforcer, in enforcer.Input) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Decide(context.Background(), in); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoadFragment is one load and its commit, with the first decision after it; engine and compiled rules.
func BenchmarkLoadFragment(b *testing.B) {
	for _, judge := range []enforcer.JudgeName{enforcer.JudgeOPA, enforcer.JudgeAuto} {
		for _, includes := range []string{"containers", "namespace"} {
			for _, n := range []int{1, 10, 100} {
				b.Run(fmt.Sprintf("judge=%s/includes=%s/containers=%d", judge, includes, n), func(b *testing.B) {
					containers := benchContainers(n)
					document := signed(b, fragmentText("containers := "+containersText(b, containers...)))
					e := load(b, fragmentPolicy(b, []allowance{allowFragment(did(), includes)}), enforcer.Options{Judge: judge})
					in := enforcer.MountDeviceInput{Target: target(1), DeviceHash: containers[n-1].Layers[5], MountPathRegex: scsi}
					loadFragment(b, e, document)() // The framework is compiled when it is first needed.
					b.ReportAllocs()
					for b.Loop() {
						undo := loadFragment(b, e, document)
						if _, err := e.Decide(context.Background(), in); (err == nil) != (includes == "containers") {
							b.Fatal(err)
						}
						undo()
					}
				})
			}
		}
	}
}
