// Package dm talks to the kernel's device-mapper: create a device, load its one target, resume, read the table back, remove.
//
// It exists because the table is a security boundary. Three properties are needed together that go-dmverity's pkg/dm does not
// have: the table is read back whole (range and target type, not parameters only), a truncated answer is an error, and the
// ioctl's argument stays a pointer until the system call (there it is a uintptr passed through a variable, which the garbage
// collector does not follow).
//
// The kernel is trusted; nothing here reads what the host wrote.
package dm
