package qemu

import "context"

// KVMWorks tells whether a real kernel (a bzImage's path) gets through its boot under KVM on this host: what Start finds out where no accelerator is named. The
// answer is remembered until the host boots again or has another QEMU.
func KVMWorks(ctx context.Context, kernel string) bool { return kvmWorks(ctx, kernel) }
