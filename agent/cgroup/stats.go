package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/cloister-cc/cloister/agent/api"
)

// maxDevices bounds how many devices of io.stat are reported.
const maxDevices = 256

// Stats reads the group's counters. Each part is there; that of a controller that is not enabled is empty.
func (g *Group) Stats() (*api.CgroupStats, error) {
	stats := &api.CgroupStats{}
	var errs [5]error
	stats.CpuStats, errs[0] = g.cpu()
	stats.MemoryStats, errs[1] = g.memory()
	stats.PidsStats, errs[2] = g.pids()
	stats.BlkioStats, errs[3] = g.io()
	stats.HugetlbStats, errs[4] = g.hugetlb()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("read control group statistics: %w", err)
	}
	return stats, nil
}

// reader keeps the first error of several reads; a file that is not there reads as nothing.
type reader struct {
	g   *Group
	err error
}

func (r *reader) keep(err error) {
	if r.err == nil && err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.err = err
	}
}

func (r *reader) number(name string) uint64 {
	v, err := r.g.number(name)
	r.keep(err)
	return v
}

func (r *reader) pairs(name string) map[string]uint64 {
	v, err := r.g.pairs(name)
	r.keep(err)
	return v
}

// nanoseconds turns the kernel's microseconds into the API's unit.
func nanoseconds(usec uint64) uint64 { return usec * 1000 }

func (g *Group) cpu() (*api.CpuStats, error) {
	r := reader{g: g}
	stat := r.pairs("cpu.stat")
	return &api.CpuStats{
		CpuUsage: &api.CpuUsage{
			TotalUsage:        nanoseconds(stat["usage_usec"]),
			UsageInUsermode:   nanoseconds(stat["user_usec"]),
			UsageInKernelmode: nanoseconds(stat["system_usec"]),
		},
		ThrottlingData: &api.ThrottlingData{
			Periods:          stat["nr_periods"],
			ThrottledPeriods: stat["nr_throttled"],
			ThrottledTime:    nanoseconds(stat["throttled_usec"]),
		},
	}, r.err
}

func (g *Group) memory() (*api.MemoryStats, error) {
	r := reader{g: g}
	stat := r.pairs("memory.stat")
	return &api.MemoryStats{
		Cache: stat["file"],
		Usage: &api.MemoryData{
			Usage:    r.number("memory.current"),
			MaxUsage: r.number("memory.peak"),
			Failcnt:  r.pairs("memory.events")["max"],
			Limit:    r.number("memory.max"),
		},
		SwapUsage: &api.MemoryData{
			Usage:   r.number("memory.swap.current"),
			Failcnt: r.pairs("memory.swap.events")["fail"],
			Limit:   r.number("memory.swap.max"),
		},
		KernelUsage:  &api.MemoryData{Usage: stat["kernel"]},
		UseHierarchy: true, // version 2 knows nothing else
		Stats:        stat,
	}, r.err
}

func (g *Group) pids() (*api.PidsStats, error) {
	r := reader{g: g}
	stats := &api.PidsStats{Current: r.number("pids.current"), Limit: r.number("pids.max")}
	if stats.Limit == math.MaxUint64 {
		stats.Limit = 0 // how clients of this field write "no limit", unlike that of memory
	}
	return stats, r.err
}

// io reads lines "major:minor rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6".
func (g *Group) io() (*api.BlkioStats, error) {
	stats := &api.BlkioStats{}
	b, err := g.read("io.stat")
	if errors.Is(err, fs.ErrNotExist) {
		return stats, nil
	}
	if err != nil {
		return nil, err
	}
	devices := 0
	for line := range bytes.Lines(b) {
		fields := strings.Fields(string(line))
		if len(fields) < 2 || devices == maxDevices {
			continue // a device without traffic has no counters
		}
		devices++
		if err := addDevice(stats, fields); err != nil {
			return nil, fmt.Errorf("read %q: got line %.64q: %w", g.file("io.stat"), line, err)
		}
	}
	return stats, nil
}

func addDevice(stats *api.BlkioStats, fields []string) error {
	majorText, minorText, ok := strings.Cut(fields[0], ":")
	major, err1 := strconv.ParseUint(majorText, 10, 32)
	minor, err2 := strconv.ParseUint(minorText, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return errors.New("want a device number first")
	}
	for _, field := range fields[1:] {
		key, text, _ := strings.Cut(field, "=")
		list, op := &stats.IoServiceBytesRecursive, ""
		switch key {
		case "rbytes":
			op = "Read"
		case "wbytes":
			op = "Write"
		case "dbytes":
			op = "Discard"
		case "rios":
			list, op = &stats.IoServicedRecursive, "Read"
		case "wios":
			list, op = &stats.IoServicedRecursive, "Write"
		case "dios":
			list, op = &stats.IoServicedRecursive, "Discard"
		default:
			continue // newer kernels add keys
		}
		v, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%s: want a number", key)
		}
		*list = append(*list, &api.BlkioStatsEntry{Major: major, Minor: minor, Op: op, Value: v})
	}
	return nil
}

// hugetlb reads one set of files a page size; which sizes there are is the kernel's.
func (g *Group) hugetlb() (map[string]*api.HugetlbStats, error) {
	entries, err := os.ReadDir(g.path)
	if err != nil {
		return nil, err
	}
	r := reader{g: g}
	stats := make(map[string]*api.HugetlbStats)
	for _, e := range entries {
		size, ok := strings.CutSuffix(strings.TrimPrefix(e.Name(), "hugetlb."), ".current")
		if !ok || !strings.HasPrefix(e.Name(), "hugetlb.") || strings.Contains(size, ".") {
			continue
		}
		stats[size] = &api.HugetlbStats{
			Usage:   r.number(e.Name()),
			Failcnt: r.pairs("hugetlb." + size + ".events")["max"],
		}
	}
	return stats, r.err
}
