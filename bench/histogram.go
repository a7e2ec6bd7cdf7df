package main

import (
	"math/bits"
	"time"
)

// A histogram counts durations in buckets whose width is at most a 16th of what
// they hold, so that it takes little memory however many there are.
type histogram struct {
	n       int
	buckets [64 * histogramParts]int
}

const histogramParts = 16

func bucketOf(ns uint64) int {
	if ns < histogramParts {
		return int(ns)
	}
	// The highest bit, and the 4 below it.
	high := bits.Len64(ns) - 5
	return (high+1)*histogramParts + int(ns>>high&(histogramParts-1))
}

// bucketEnd is the least that is above a bucket.
func bucketEnd(i int) uint64 {
	if i < histogramParts {
		return uint64(i) + 1
	}
	high := i/histogramParts - 1
	return uint64(histogramParts+i%histogramParts+1) << high
}

func (h *histogram) add(d time.Duration) {
	h.n++
	h.buckets[bucketOf(uint64(max(0, d)))]++
}

func (h *histogram) merge(of *histogram) {
	h.n += of.n
	for i, n := range of.buckets {
		h.buckets[i] += n
	}
}

// at is the duration below which a part q of all lie.
func (h *histogram) at(q float64) time.Duration {
	left := int(q * float64(h.n))
	for i, n := range h.buckets {
		if left < n {
			return time.Duration(bucketEnd(i))
		}
		left -= n
	}
	return 0
}

// percentiles returns p50, p99 and p999 in ms.
func (h *histogram) percentiles() sample {
	ms := func(q float64) float64 { return float64(h.at(q)) / 1e6 }
	return sample{"p50_ms": ms(0.5), "p99_ms": ms(0.99), "p999_ms": ms(0.999)}
}
