//! Spans of traces on their way from the workers to whoever sends them to a collector.
//!
//! As lines of the access log do, spans gather in a buffer of their worker's own, in the form in which they travel, and are
//! handed over whole: a request neither locks nor wakes anybody. Where the sending does not keep up, a worker's buffer fills;
//! from then on its spans are dropped and counted, and no request waits.

pub mod otlp;

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Recorder;
use crate::domain::Queue;

/// Most spans that travel together, and that a worker keeps.
pub const MOST_SPANS: usize = 512;
/// Bytes of spans that are handed over at once.
const BATCH: usize = 32 * 1024;
/// Bytes of spans that one worker keeps at most.
const MOST_BYTES: usize = 256 * 1024;
/// Batches on their way to the sender.
const BATCHES: usize = 32;

/// Spans that travel together.
#[derive(Debug, Default)]
pub struct SpanBatch {
    /// One after the other, each as a field of OTLP's `ScopeSpans`.
    pub bytes: Vec<u8>,
    /// How many.
    pub spans: usize,
}

/// The way to whoever sends spans, for any thread; cheap to clone, and never blocks.
#[derive(Debug, Clone)]
pub struct SpanSink {
    batches: mpsc::Sender<SpanBatch>,
    recorder: Arc<Recorder>,
}

impl SpanSink {
    /// A sink and the one receiver of its spans; what is lost is counted in `recorder`.
    pub fn new(recorder: Arc<Recorder>) -> (Self, mpsc::Receiver<SpanBatch>) {
        let (batches, inbox) = mpsc::channel(BATCHES);
        (Self { batches, recorder }, inbox)
    }

    /// A buffer for one worker.
    pub fn buffer(&self) -> SpanBuffer {
        SpanBuffer { sink: self.clone(), batch: SpanBatch::default() }
    }
}

/// One worker's spans that are not handed over yet.
#[derive(Debug)]
pub struct SpanBuffer {
    sink: SpanSink,
    batch: SpanBatch,
}

impl SpanBuffer {
    /// Adds the span that `write` appends; where there is no room, counts it as lost.
    pub fn span(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.batch.spans >= MOST_SPANS || self.batch.bytes.len() >= MOST_BYTES {
            self.sink.recorder.overflow(Queue::Spans);
            return;
        }
        write(&mut self.batch.bytes);
        self.batch.spans += 1;
        if self.batch.bytes.len() >= BATCH {
            self.flush();
        }
    }

    /// Hands over what there is; keeps it where the sender does not keep up.
    pub fn flush(&mut self) {
        if self.batch.spans == 0 {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        if let Err(refused) = self.sink.batches.try_send(batch) {
            self.batch = refused.into_inner();
        }
    }
}

impl Drop for SpanBuffer {
    fn drop(&mut self) {
        self.flush();
        self.sink.recorder.overflow_by(Queue::Spans, self.batch.spans as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_a_sender_that_does_not_send_and_what_is_lost_is_counted() {
        let recorder = Arc::new(Recorder::new(1));
        let (sink, mut inbox) = SpanSink::new(recorder.clone());
        let mut buffer = sink.buffer();
        let sent = 2 * (BATCHES * BATCH + MOST_BYTES) / 1024;
        for _ in 0..sent {
            buffer.span(|out| out.extend_from_slice(&[7; 1024]));
        }
        drop((buffer, sink));
        let mut got = 0;
        while let Ok(batch) = inbox.try_recv() {
            assert!(batch.spans <= MOST_SPANS);
            assert_eq!(batch.bytes.len(), batch.spans * 1024);
            got += batch.spans;
        }
        let lost = recorder.snapshot().overflows_of(Queue::Spans);
        assert!(lost > 0);
        assert_eq!(got as u64 + lost, sent as u64);
    }

    #[test]
    fn small_spans_do_not_make_a_batch_too_large() {
        let recorder = Arc::new(Recorder::new(1));
        let (sink, mut inbox) = SpanSink::new(recorder.clone());
        let mut buffer = sink.buffer();
        (0..=MOST_SPANS).for_each(|_| buffer.span(|out| out.push(7)));
        buffer.flush();
        assert_eq!(inbox.try_recv().unwrap().spans, MOST_SPANS);
        assert_eq!(recorder.snapshot().overflows_of(Queue::Spans), 1);
        buffer.flush();
        assert!(inbox.try_recv().is_err(), "nothing is no batch");
    }
}
