//! The cheapest division of nodes into two sides (Dinic, "Algorithm for solution of a problem of maximum flow in
//! networks with power estimation", 1970).

/// A capacity that is never worth cutting.
pub const FOREVER: u64 = u64::MAX / 4;

#[derive(Clone, Debug)]
struct Edge {
    to: usize,
    room: u64,
}

/// A network between a source (0) and a sink (1).
#[derive(Clone, Debug)]
pub struct Network {
    edges: Vec<Edge>,
    /// Edges that leave each place, by index; the edge back is the index with the last bit flipped.
    leaving: Vec<Vec<usize>>,
}

pub const SOURCE: usize = 0;
pub const SINK: usize = 1;

impl Network {
    pub fn new() -> Network {
        Network { edges: Vec::new(), leaving: vec![Vec::new(); 2] }
    }

    /// A new place.
    pub fn place(&mut self) -> usize {
        self.leaving.push(Vec::new());
        self.leaving.len() - 1
    }

    /// Having `from` on the source's side and `to` on the sink's costs `cost`.
    pub fn edge(&mut self, from: usize, to: usize, cost: u64) {
        for (from, to, room) in [(from, to, cost), (to, from, 0)] {
            if let Some(leaving) = self.leaving.get_mut(from) {
                leaving.push(self.edges.len());
            }
            self.edges.push(Edge { to, room });
        }
    }

    /// Steps from the source over edges with room; `usize::MAX` where there is no way.
    fn steps(&self) -> Vec<usize> {
        let mut steps = vec![usize::MAX; self.leaving.len()];
        steps[SOURCE] = 0;
        let mut queue = std::collections::VecDeque::from([SOURCE]);
        while let Some(at) = queue.pop_front() {
            for &e in &self.leaving[at] {
                let Edge { to, room } = self.edges[e];
                if room > 0 && steps[to] == usize::MAX {
                    steps[to] = steps[at] + 1;
                    queue.push_back(to);
                }
            }
        }
        steps
    }

    /// Fills the shortest ways to the sink until none has room.
    fn fill(&mut self, steps: &[usize]) {
        let mut tried = vec![0; self.leaving.len()];
        let mut way: Vec<usize> = Vec::new();
        let mut at = SOURCE;
        loop {
            if at == SINK {
                let room = way.iter().map(|&e| self.edges[e].room).min().unwrap_or(0);
                for &e in &way {
                    self.edges[e].room -= room;
                    self.edges[e ^ 1].room += room;
                }
                let full = way.iter().position(|&e| self.edges[e].room == 0).unwrap_or(0);
                way.truncate(full);
                at = way.last().map_or(SOURCE, |&e| self.edges[e].to);
                continue;
            }
            match self.leaving[at].get(tried[at]) {
                Some(&e) => {
                    let Edge { to, room } = self.edges[e];
                    if room > 0 && steps[to] == steps[at].wrapping_add(1) {
                        way.push(e);
                        at = to;
                    } else {
                        tried[at] += 1;
                    }
                }
                None => {
                    let Some(e) = way.pop() else { return };
                    at = self.edges[e ^ 1].to;
                    tried[at] += 1;
                }
            }
        }
    }

    /// Whether each place is on the source's side of the cheapest division; of equal ones that with the fewest places there.
    pub fn cut(mut self) -> Vec<bool> {
        loop {
            let steps = self.steps();
            if steps[SINK] == usize::MAX {
                return steps.iter().map(|s| *s != usize::MAX).collect();
            }
            self.fill(&steps);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_edges_are_cut() {
        let mut n = Network::new();
        let (a, b, c) = (n.place(), n.place(), n.place());
        n.edge(SOURCE, a, 10);
        n.edge(SOURCE, b, 3);
        n.edge(a, c, 4);
        n.edge(b, c, 5);
        n.edge(c, SINK, 6);
        n.edge(b, a, 1);
        let sides = n.cut();
        assert!(sides[SOURCE] && !sides[SINK]);
        assert_eq!([sides[a], sides[b], sides[c]], [true, true, true]);
    }

    #[test]
    fn a_place_that_gains_less_than_its_edges_stays() {
        let mut n = Network::new();
        let (a, b) = (n.place(), n.place());
        n.edge(SOURCE, a, 5);
        n.edge(a, b, 7);
        n.edge(b, SINK, FOREVER);
        assert_eq!(n.cut()[a..], [false, false]);
    }
}
