package server

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
)

// metrics are the server's own; labels are bounded, so no series grows with rings or callers.
type metrics struct {
	registry *prometheus.Registry
	tokens   prometheus.Counter
	latency  prometheus.Histogram
	refusals *prometheus.CounterVec
}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		tokens:   prometheus.NewCounter(prometheus.CounterOpts{Name: "intaglio_tokens_signed_total", Help: "Tokens returned to callers."}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "intaglio_sign_seconds", Help: "Time to answer for one token, refusals included.",
			Buckets: prometheus.ExponentialBuckets(25e-6, 2, 18), // 25 µs to 3 s
		}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "intaglio_refusals_total", Help: "Calls and batch items refused, by reason."}, []string{"reason"}),
	}
	m.registry.MustRegister(m.tokens, m.latency, m.refusals, &ringMetrics{live: s.live, now: s.now},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// signed counts one answer of the sign path.
func (m *metrics) signed(took time.Duration, err error) {
	m.latency.Observe(took.Seconds())
	if err == nil {
		m.tokens.Inc()
	}
}

func (m *metrics) refused(r pb.Reason) {
	m.refusals.WithLabelValues(strings.ToLower(strings.TrimPrefix(r.String(), "REASON_"))).Inc()
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// ringMetrics describe the snapshot when they are asked for. They see what rotation should have done whether or not it
// still runs.
type ringMetrics struct {
	live *keyring.Live
	now  func() time.Time
}

var (
	ringsDesc    = prometheus.NewDesc("intaglio_rings", "Rings by whether a key can sign.", []string{"state"}, nil)
	capDesc      = prometheus.NewDesc("intaglio_signer_cap_min_seconds", "Time until the first signer reaches its cap; negative when one has passed it.", nil, nil)
	revisionDesc = prometheus.NewDesc("intaglio_snapshot_revision", "Revision of the snapshot.", nil, nil)
	freshDesc    = prometheus.NewDesc("intaglio_snapshot_fresh", "1 while the snapshot may be signed from.", nil, nil)
)

// Describe sends the descriptions.
func (ringMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{ringsDesc, capDesc, revisionDesc, freshDesc} {
		out <- d
	}
}

// Collect reads the snapshot.
func (c *ringMetrics) Collect(out chan<- prometheus.Metric) {
	snap, err := c.live.Current()
	if err != nil {
		out <- prometheus.MustNewConstMetric(freshDesc, prometheus.GaugeValue, 0)
		return
	}
	var signing, silent int
	nearest, known := time.Duration(0), false
	for _, l := range snap.Lines() {
		if l.Signer == nil {
			silent++
			continue
		}
		signing++
		if left := l.Signer.Window.SignUntil.Sub(c.now()); !known || left < nearest {
			nearest, known = left, true
		}
	}
	out <- prometheus.MustNewConstMetric(freshDesc, prometheus.GaugeValue, 1)
	out <- prometheus.MustNewConstMetric(revisionDesc, prometheus.GaugeValue, float64(snap.Position.Revision))
	out <- prometheus.MustNewConstMetric(ringsDesc, prometheus.GaugeValue, float64(signing), "signing")
	out <- prometheus.MustNewConstMetric(ringsDesc, prometheus.GaugeValue, float64(silent), "no_signer")
	if known {
		out <- prometheus.MustNewConstMetric(capDesc, prometheus.GaugeValue, nearest.Seconds())
	}
}
