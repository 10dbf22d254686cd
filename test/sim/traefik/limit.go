// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// source tells who a request counts for.
func (c *sourceCriterion) source() (func(*http.Request) string, error) {
	switch {
	case c == nil:
		return remoteIP, nil
	case c.IPStrategy != nil && c.RequestHeaderName != "":
		return nil, errors.New("iPStrategy and RequestHeaderName are mutually exclusive")
	case c.IPStrategy != nil && c.RequestHost:
		return nil, errors.New("iPStrategy and RequestHost are mutually exclusive")
	case c.RequestHeaderName != "" && c.RequestHost:
		return nil, errors.New("requestHost and RequestHeaderName are mutually exclusive")
	case c.RequestHeaderName != "":
		return func(r *http.Request) string { return r.Header.Get(c.RequestHeaderName) }, nil
	case c.RequestHost:
		return func(r *http.Request) string { return r.Host }, nil
	}
	return c.IPStrategy.client()
}

// limitRate refuses those who ask too often, in real time.
func limitRate(conf *rateLimit, next http.Handler) (http.Handler, error) {
	source, err := conf.SourceCriterion.source()
	if err != nil {
		return nil, fmt.Errorf("getting source extractor: %w", err)
	}
	period := time.Duration(conf.Period)
	if period < 0 {
		return nil, fmt.Errorf("negative value not valid for period: %v", period)
	}
	if period == 0 {
		period = time.Second
	}
	most, patience := rate.Inf, time.Duration(0)
	if conf.Average > 0 {
		most = rate.Limit(float64(conf.Average*int64(time.Second)) / float64(period))
		patience = 500 * time.Millisecond
		if most >= 1 {
			patience = time.Second / (time.Duration(most) * 2)
		}
	}
	buckets := &buckets{rate: most, burst: int(max(conf.Burst, 1))}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		turn := buckets.of(source(r)).Reserve()
		delay := turn.Delay()
		if delay > patience {
			turn.Cancel()
			w.Header().Set("Retry-After", fmt.Sprintf("%.0f", math.Ceil(delay.Seconds())))
			w.Header().Set("X-Retry-In", delay.String())
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, http.StatusText(http.StatusTooManyRequests))
			return
		}
		if !pause(r.Context(), delay) {
			http.Error(w, "context canceled", http.StatusInternalServerError)
			return
		}
		next.ServeHTTP(w, r)
	}), nil
}

// buckets count for each source.
type buckets struct {
	rate  rate.Limit
	burst int
	mu    sync.Mutex
	by    map[string]*rate.Limiter
}

func (b *buckets) of(source string) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.by == nil {
		b.by = map[string]*rate.Limiter{}
	}
	if b.by[source] == nil {
		b.by[source] = rate.NewLimiter(b.rate, b.burst)
	}
	return b.by[source]
}

// limitInFlight refuses those who ask for too much at once.
func limitInFlight(conf *inFlightRequests, next http.Handler) (http.Handler, error) {
	source := func(r *http.Request) string { return r.Host }
	if conf.SourceCriterion != nil {
		found, err := conf.SourceCriterion.source()
		if err != nil {
			return nil, fmt.Errorf("error creating requests limiter: %w", err)
		}
		source = found
	}
	var mu sync.Mutex
	flying := map[string]int64{}
	change := func(of string, by int64) int64 {
		mu.Lock()
		defer mu.Unlock()
		flying[of] += by
		return flying[of]
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := source(r)
		now := change(who, 1)
		defer change(who, -1)
		if now > conf.Amount {
			http.Error(w, fmt.Sprintf("max connections reached: %d", conf.Amount), http.StatusTooManyRequests)
			return
		}
		next.ServeHTTP(w, r)
	}), nil
}

// limitBody refuses bodies that are too long. Nothing else of buffering is simulated.
func limitBody(conf *buffering, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if most := conf.MaxRequestBodyBytes; most > 0 {
			if r.ContentLength > most {
				http.Error(w, http.StatusText(http.StatusRequestEntityTooLarge), http.StatusRequestEntityTooLarge)
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, most)
		}
		next.ServeHTTP(w, r)
	})
}
