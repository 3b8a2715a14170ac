package entry

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// generate writes a policy of n containers as a tool would: six layers (two shared), five words, twelve environment rules
// of which seven are patterns, three mounts, two exec processes, five capability lists. With unique set, nothing but the
// names of capabilities repeats from one container to the next.
func generate(n int, unique bool) []byte {
	var b bytes.Buffer
	b.WriteString("package policy\n\napi_version := \"0.12.0\"\nframework_version := \"0.5.0\"\n\nfragments := []\n\ncontainers := [")
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		generateContainer(&b, i, unique)
	}
	b.WriteString("]\n\nexternal_processes := [")
	b.WriteString(`{"command":["bash"],"env_rules":[{"pattern":"PATH=/bin","strategy":"string","required":true}],"working_dir":"/","allow_stdio_access":false}`)
	b.WriteString("]\n\nallow_properties_access := true\nallow_environment_variable_dropping := true\n\n")
	for _, p := range points {
		fmt.Fprintf(&b, "%s := data.framework.%s\n", p, p)
	}
	b.WriteString("reason := {\"errors\": data.framework.errors}\n")
	return b.Bytes()
}

func generateContainer(b *bytes.Buffer, i int, unique bool) {
	own := 0
	if unique {
		own = i
	}
	caps := func(from, count int) string {
		var list bytes.Buffer
		for k := range count {
			if k > 0 {
				list.WriteByte(',')
			}
			fmt.Fprintf(&list, `"CAP_NAME_%02d"`, (from+k)%41)
		}
		return "[" + list.String() + "]"
	}
	fmt.Fprintf(b, `{"allow_elevated":false,"allow_stdio_access":true,"capabilities":{"ambient":[],"bounding":%s,"effective":%s,"inheritable":[],"permitted":%s},`,
		caps(own, 14), caps(own, 14), caps(own, 14))
	fmt.Fprintf(b, `"command":["/bin/app","--id","%d","--mode","serve"],"env_rules":[`, i)
	for k := range 12 {
		if k > 0 {
			b.WriteByte(',')
		}
		if k < 7 {
			fmt.Fprintf(b, `{"pattern":"VARIABLE_%d_%d=[a-z0-9]+","required":false,"strategy":"re2"}`, k, own)
		} else {
			fmt.Fprintf(b, `{"pattern":"VARIABLE_%d_%d=value","required":true,"strategy":"string"}`, k, own)
		}
	}
	b.WriteString(`],"exec_processes":[`)
	for k := range 2 {
		if k > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, `{"command":["/bin/probe","%d","%d"],"signals":[9,15]}`, k, own)
	}
	fmt.Fprintf(b, `],"id":"registry.example/app:%d","layers":[`, i)
	for k := range 6 {
		if k > 0 {
			b.WriteByte(',')
		}
		if k < 2 {
			fmt.Fprintf(b, `"%064x"`, k)
		} else {
			fmt.Fprintf(b, `"%032x%032x"`, i, k)
		}
	}
	b.WriteString(`],"mounts":[`)
	for k := range 3 {
		if k > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, `{"destination":"/mnt/%d/%d","options":["rbind","rshared","rw"],"source":"sandbox:///tmp/atlas/emptydir/.+","type":"bind"}`, k, own)
	}
	fmt.Fprintf(b, `],"name":"app-%d","no_new_privileges":false,"seccomp_profile_sha256":"","signals":[9,15],`, i)
	fmt.Fprintf(b, `"user":{"group_idnames":[{"pattern":"%d","strategy":"id"}],"umask":"0022","user_idname":{"pattern":"%d","strategy":"id"}},"working_dir":"/srv/%d"}`, own, own, own)
}

func BenchmarkRead(b *testing.B) {
	for _, unique := range []bool{false, true} {
		for _, n := range []int{1, 1000, 10000} {
			kind := "repeating"
			if unique {
				kind = "unique"
			}
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				text := generate(n, unique)
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				before := liveHeap()
				var p *Policy
				for b.Loop() {
					var err error
					if p, err = Read(text, points); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(liveHeap()-before)/1e6, "MB-live")
				runtime.KeepAlive(text) // it was there before
				if len(p.Data.Containers) != n || len(p.Skeleton) > 8<<10 {
					b.Fatalf("got %d containers, a skeleton of %d bytes", len(p.Data.Containers), len(p.Skeleton))
				}
			})
		}
	}
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestReadIsLinear holds the reader to a bound that only a mistake exceeds: this takes a few hundredths of a second.
func TestReadIsLinear(t *testing.T) {
	text := generate(1000, true)
	start := time.Now()
	mustRead(t, string(text))
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("reading %d bytes took %s", len(text), took)
	}
}

func TestGeneratedAreRead(t *testing.T) {
	for _, unique := range []bool{false, true} {
		text := string(generate(50, unique))
		p := mustRead(t, text)
		if strings.Contains(p.Skeleton, "allow_elevated") {
			t.Error("not read fast")
		}
		sameData(t, p.Data, rules(t, text))
	}
}
