// Package boot does what PID 1 has to do in the utility VM: mounts, leaving the initramfs, kernel modules, reaping, a few words on the
// console, power-off.
//
// The duties are a table of steps, run in order; when one fails those before it are undone and the caller powers the VM off. Only what the first answer
// needs is done before it: other modules are loaded when they are first used.
//
// # Trust
//
// Trusted, because measured: the initrd with its modules and modules.dep, and the command line. Not trusted: the machine they run on. The
// console belongs to the host, so it gets messages of a fixed catalogue and nothing else: standard input and output are turned
// to /dev/null first, since a Go panic prints values. A parameter of ours that is unknown, repeated or malformed ends the boot: a switch that somebody
// believes to be set must not be ignored.
package boot
