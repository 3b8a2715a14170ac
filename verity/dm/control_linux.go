package dm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// controlPath appears with the module dm_mod.
const controlPath = "/dev/mapper/control"

// maxReply bounds the table that is read back; a verity table has some 300 bytes.
const maxReply = 16 << 10

// Offsets within the ioctl header (struct dm_ioctl); a test compares them with x/sys's struct.
const (
	offVersion   = 0
	offDataSize  = 12
	offDataStart = 16
	offCount     = 20
	offOpen      = 24
	offFlags     = 28
	offDev       = 40
	offName      = 48
	headerSize   = unix.SizeofDmIoctl
	specSize     = unix.SizeofDmTargetSpec

	specStart  = 0
	specLength = 8
	specType   = 24
)

// Control is the control device, open.
type Control struct{ f *os.File }

// Open opens the control device.
func Open() (*Control, error) {
	f, err := os.OpenFile(controlPath, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open device-mapper: %w", err)
	}
	return &Control{f: f}, nil
}

// Close closes the control device; mapped devices stay.
func (c *Control) Close() error { return c.f.Close() }

// Create makes an empty device.
func (c *Control) Create(name string) (Number, error) {
	b, err := c.call(unix.DM_DEV_CREATE, name, 0, nil, 0)
	if err != nil {
		return Number{}, fmt.Errorf("create device %q: %w", name, err)
	}
	return numberOf(b), nil
}

// Load gives the device an inactive table of one target.
func (c *Control) Load(name string, t Target, readOnly bool) error {
	if len(t.Type) >= unix.DM_MAX_TYPE_NAME || bytes.IndexByte([]byte(t.Type+t.Params), 0) >= 0 {
		return fmt.Errorf("load table of %q: malformed target", name)
	}
	body := make([]byte, specSize, specSize+len(t.Params)+8)
	binary.NativeEndian.PutUint64(body[specStart:], t.Start)
	binary.NativeEndian.PutUint64(body[specLength:], t.Length)
	copy(body[specType:], t.Type)
	body = append(append(body, t.Params...), 0)
	for len(body)%8 != 0 {
		body = append(body, 0)
	}
	var flags uint32
	if readOnly {
		flags = unix.DM_READONLY_FLAG
	}
	if _, err := c.call(unix.DM_TABLE_LOAD, name, flags, body, 0); err != nil {
		return fmt.Errorf("load table of %q: %w", name, err)
	}
	return nil
}

// Resume makes the loaded table the active one.
func (c *Control) Resume(name string) error {
	if _, err := c.call(unix.DM_DEV_SUSPEND, name, 0, nil, 0); err != nil {
		return fmt.Errorf("resume device %q: %w", name, err)
	}
	return nil
}

// Status reads the active table back.
func (c *Control) Status(name string) (Status, error) {
	b, err := c.call(unix.DM_TABLE_STATUS, name, unix.DM_STATUS_TABLE_FLAG, nil, maxReply)
	if err != nil {
		return Status{}, fmt.Errorf("read table of %q: %w", name, err)
	}
	s, err := parseStatus(b)
	if err != nil {
		return Status{}, fmt.Errorf("read table of %q: %w", name, err)
	}
	return s, nil
}

// Remove removes the device at once. One that is in use gives EBUSY and stays.
func (c *Control) Remove(name string) error {
	if _, err := c.call(unix.DM_DEV_REMOVE, name, 0, nil, 0); err != nil {
		return fmt.Errorf("remove device %q: %w", name, err)
	}
	return nil
}

// call makes one ioctl. body follows the header; reply is how much room the kernel gets after it.
func (c *Control) call(request uint, name string, flags uint32, body []byte, reply int) ([]byte, error) {
	if name == "" || len(name) >= unix.DM_NAME_LEN || bytes.IndexByte([]byte(name), 0) >= 0 {
		return nil, errors.New("malformed name")
	}
	b := make([]byte, headerSize+max(len(body), reply))
	binary.NativeEndian.PutUint32(b[offVersion:], unix.DM_VERSION_MAJOR) // minor and patch 0: the oldest interface will do
	binary.NativeEndian.PutUint32(b[offDataSize:], uint32(len(b)))
	binary.NativeEndian.PutUint32(b[offDataStart:], headerSize)
	binary.NativeEndian.PutUint32(b[offFlags:], flags)
	if body != nil {
		binary.NativeEndian.PutUint32(b[offCount:], 1)
	}
	copy(b[offName:], name)
	copy(b[headerSize:], body)
	raw, err := c.f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var errno error
	if err := raw.Control(func(fd uintptr) { errno = ioctl(fd, request, b) }); err != nil {
		return nil, err
	}
	return b, errno
}

func numberOf(b []byte) Number {
	dev := binary.NativeEndian.Uint64(b[offDev:])
	return Number{Major: unix.Major(dev), Minor: unix.Minor(dev)}
}

// parseStatus reads the answer to DM_TABLE_STATUS.
func parseStatus(b []byte) (Status, error) {
	flags := binary.NativeEndian.Uint32(b[offFlags:])
	s := Status{
		Number:   numberOf(b),
		ReadOnly: flags&unix.DM_READONLY_FLAG != 0,
		Active:   flags&unix.DM_ACTIVE_PRESENT_FLAG != 0,
		Open:     int(int32(binary.NativeEndian.Uint32(b[offOpen:]))),
	}
	if flags&unix.DM_BUFFER_FULL_FLAG != 0 {
		return Status{}, fmt.Errorf("it is longer than %d bytes", maxReply)
	}
	if n := binary.NativeEndian.Uint32(b[offCount:]); n != 1 {
		return Status{}, fmt.Errorf("got %d targets, want 1", n)
	}
	start := uint64(binary.NativeEndian.Uint32(b[offDataStart:]))
	if start+specSize > uint64(len(b)) {
		return Status{}, errors.New("it is cut short")
	}
	spec := b[start:]
	params, _, ended := bytes.Cut(spec[specSize:], []byte{0})
	if !ended {
		return Status{}, errors.New("it is cut short")
	}
	name, _, _ := bytes.Cut(spec[specType:specSize], []byte{0})
	s.Target = Target{
		Start:  binary.NativeEndian.Uint64(spec[specStart:]),
		Length: binary.NativeEndian.Uint64(spec[specLength:]),
		Type:   string(name),
		Params: string(params),
	}
	return s, nil
}
