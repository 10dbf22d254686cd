// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
)

var sizePattern = regexp.MustCompile(`^(\d{1,19}(?:\.\d{1,9})?)([KMGT]?)$`)

// sizeUnits are the suffixes of a size; each is 1024 times the one before.
var sizeUnits = []string{"", "K", "M", "G", "T"}

const gib = 1 << 30

// ParseSize reads a size as property strings and resize calls carry it: a
// number of bytes, or of K, M, G or T (powers of 1024), with a fraction
// allowed. It returns bytes, rounded down.
func ParseSize(s string) (int64, error) {
	match := sizePattern.FindStringSubmatch(s)
	if match == nil {
		return 0, fmt.Errorf("parse size %q: want a number with K, M, G, T or nothing", s)
	}
	value, ok := new(big.Rat).SetString(match[1])
	if !ok {
		return 0, fmt.Errorf("parse size %q: not a number", s)
	}
	for _, unit := range sizeUnits {
		if unit == match[2] {
			break
		}
		value.Mul(value, big.NewRat(1024, 1))
	}
	whole := new(big.Int).Quo(value.Num(), value.Denom())
	if !whole.IsInt64() {
		return 0, fmt.Errorf("parse size %q: more than %d bytes", s, int64(math.MaxInt64))
	}
	return whole.Int64(), nil
}

// FormatSize renders bytes as Proxmox VE does: in the largest unit that has no
// remainder ("1536M", not "1.5G").
func FormatSize(bytes int64) string {
	unit := 0
	for unit < len(sizeUnits)-1 && bytes != 0 && bytes%1024 == 0 {
		bytes /= 1024
		unit++
	}
	return strconv.FormatInt(bytes, 10) + sizeUnits[unit]
}

// NewVolume names a volume that Proxmox VE is to make: "storage:gigabytes".
// Sizes below one GiB become a fraction.
func NewVolume(storage string, bytes int64) string {
	return storage + ":" + strconv.FormatFloat(float64(bytes)/gib, 'f', -1, 64)
}
