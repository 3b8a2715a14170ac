package main

import "context"

func measureSizes(ctx context.Context, b *bench) error    { return nil }
func measureDecision(ctx context.Context, b *bench) error { return nil }
func measureVerity(ctx context.Context, b *bench) error   { return nil }
func measureBoot(ctx context.Context, b *bench) error     { return nil }
func measureMemory(ctx context.Context, b *bench) error   { return nil }
