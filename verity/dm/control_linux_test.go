package dm

import (
	"encoding/binary"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestHeaderLayout(t *testing.T) {
	var h unix.DmIoctl
	var s unix.DmTargetSpec
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"header size", headerSize, unsafe.Sizeof(h)},
		{"version", offVersion, unsafe.Offsetof(h.Version)},
		{"data size", offDataSize, unsafe.Offsetof(h.Data_size)},
		{"data start", offDataStart, unsafe.Offsetof(h.Data_start)},
		{"target count", offCount, unsafe.Offsetof(h.Target_count)},
		{"open count", offOpen, unsafe.Offsetof(h.Open_count)},
		{"flags", offFlags, unsafe.Offsetof(h.Flags)},
		{"dev", offDev, unsafe.Offsetof(h.Dev)},
		{"name", offName, unsafe.Offsetof(h.Name)},
		{"spec size", specSize, unsafe.Sizeof(s)},
		{"spec start", specStart, unsafe.Offsetof(s.Sector_start)},
		{"spec length", specLength, unsafe.Offsetof(s.Length)},
		{"spec type", specType, unsafe.Offsetof(s.Target_type)},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, c.got, c.want)
		}
	}
	if unix.DM_TABLE_STATUS != 0xc138fd0c || unix.DM_TABLE_LOAD != 0xc138fd09 {
		t.Error("ioctl numbers are not those of a 312-byte header")
	}
}

// reply is an answer of the kernel with one target.
func reply(params string) []byte {
	b := make([]byte, headerSize+specSize+len(params)+16)
	binary.NativeEndian.PutUint32(b[offDataStart:], headerSize)
	binary.NativeEndian.PutUint32(b[offCount:], 1)
	binary.NativeEndian.PutUint32(b[offFlags:], unix.DM_READONLY_FLAG|unix.DM_ACTIVE_PRESENT_FLAG)
	binary.NativeEndian.PutUint64(b[offDev:], unix.Mkdev(253, 4))
	binary.NativeEndian.PutUint64(b[headerSize+specLength:], 88)
	copy(b[headerSize+specType:], "verity")
	copy(b[headerSize+specSize:], params)
	return b
}

func TestParseStatus(t *testing.T) {
	got, err := parseStatus(reply("1 8:0 8:0"))
	want := Status{Number: Number{253, 4}, ReadOnly: true, Active: true, Target: Target{Length: 88, Type: "verity", Params: "1 8:0 8:0"}}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, c := range []struct {
		name string
		do   func(b []byte) []byte
		want string
	}{
		{"buffer-full", func(b []byte) []byte { b[offFlags+1] |= unix.DM_BUFFER_FULL_FLAG >> 8; return b }, "longer"},
		{"no-target", func(b []byte) []byte { b[offCount] = 0; return b }, "got 0 targets"},
		{"two-targets", func(b []byte) []byte { b[offCount] = 2; return b }, "got 2 targets"},
		{"start-outside", func(b []byte) []byte { b[offDataStart+3] = 0xff; return b }, "cut short"},
		{"no-end", func(b []byte) []byte { return b[:headerSize+specSize+3] }, "cut short"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := parseStatus(c.do(reply("1 8:0 8:0"))); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestMalformedNames(t *testing.T) {
	c := &Control{} // no call may reach the kernel
	for _, name := range []string{"", strings.Repeat("n", unix.DM_NAME_LEN), "a\x00b"} {
		if _, err := c.Create(name); err == nil {
			t.Errorf("name %q was accepted", name)
		}
	}
	for _, target := range []Target{{Type: strings.Repeat("t", unix.DM_MAX_TYPE_NAME)}, {Type: "verity", Params: "1\x002"}} {
		if err := c.Load("n", target, true); err == nil {
			t.Errorf("target %+v was accepted", target)
		}
	}
}
