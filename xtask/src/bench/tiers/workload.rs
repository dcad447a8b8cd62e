//! What is pulled: images whose layers are as large as those of a published production workload, some of them asked for
//! much more often than others, by nodes that keep what they have.
//!
//! Of the layers 66 % have less than 1 MB and 80 % less than 10 MB; the rest carries 95 % of the bytes. A tenth of the
//! layers takes half of the requests.

use super::super::hit_ratio::trace::Random;
use super::super::payload;
use serde::{Deserialize, Serialize};

/// How many layers there are, how many of them are popular, and of how many images.
const LAYERS: usize = 40;
const POPULAR: usize = LAYERS / 10;
const IMAGES: usize = 20;

/// One image.
#[derive(Clone, Serialize, Deserialize)]
pub struct Image {
    /// Its tag in the one repository.
    pub tag: String,
    /// The digests of its layers.
    pub layers: Vec<String>,
}

/// The layers, and the images that are made of them.
pub struct Workload {
    /// The bytes of the layers.
    pub layers: Vec<Vec<u8>>,
    /// The images.
    pub images: Vec<Image>,
}

fn below(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.next() % bound as u64).unwrap_or(0)
}

impl Workload {
    /// Forty layers of some `bytes` in all (of 250 MB, the limits of the classes are those above), in twenty images.
    pub fn new(bytes: usize, seed: u64) -> Workload {
        let mut random = Random(seed);
        let size = |number: usize, random: &mut Random| match number {
            n if n % 5 == 0 => bytes / 10 + below(random, bytes / 25),
            n if n % 7 == 1 => bytes / 225 + below(random, bytes / 1_000),
            _ => 2_000 + below(random, bytes / 1_000),
        };
        let sizes: Vec<usize> = (0..LAYERS).map(|number| size(number, &mut random)).collect();
        let layers: Vec<Vec<u8>> = sizes
            .iter()
            .enumerate()
            .map(|(number, size)| payload::random_bytes(*size, seed + number as u64))
            .collect();
        let digests: Vec<String> = layers.iter().map(|layer| payload::digest_of(layer)).collect();
        let images = (0..IMAGES)
            .map(|number| {
                // Every second layer of an image is one of the tenth that is popular.
                let mut chosen: Vec<usize> = Vec::new();
                while chosen.len() < 6 {
                    let popular = chosen.len().is_multiple_of(2);
                    let layer = if popular {
                        below(&mut random, POPULAR)
                    } else {
                        POPULAR + below(&mut random, LAYERS - POPULAR)
                    };
                    if !chosen.contains(&layer) {
                        chosen.push(layer);
                    }
                }
                let layers = chosen.into_iter().map(|layer| digests[layer].clone()).collect();
                Image { tag: format!("v{number}"), layers }
            })
            .collect();
        Workload { layers, images }
    }

    /// The images that a node pulls, one after the other.
    pub fn plan(&self, node: usize, pulls: usize) -> Vec<Image> {
        let mut random = Random(1_000 + node as u64);
        (0..pulls).map(|_| self.images[below(&mut random, self.images.len())].clone()).collect()
    }

    /// The layers that some plan names, with their sizes: what must come from the upstream at least.
    pub fn unique_bytes(&self, plans: &[Vec<Image>]) -> u64 {
        let wanted: std::collections::HashSet<&String> =
            plans.iter().flatten().flat_map(|image| &image.layers).collect();
        let sizes = self.layers.iter().filter(|layer| wanted.contains(&payload::digest_of(layer)));
        sizes.map(|layer| layer.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_as_large_as_those_of_production() {
        const MB: usize = 1_000_000;
        let workload = Workload::new(250 * MB, 11);
        let sizes: Vec<usize> = workload.layers.iter().map(Vec::len).collect();
        let below = |limit: usize| sizes.iter().filter(|size| **size < limit).count() * 100 / LAYERS;
        assert!((60..=70).contains(&below(MB)), "{}", below(MB));
        assert_eq!(below(10 * MB), 80);
        let large: usize = sizes.iter().filter(|size| **size >= 10 * MB).sum();
        let share = large * 100 / sizes.iter().sum::<usize>();
        assert!((94..=97).contains(&share), "{share}");
        let half: usize = workload.images.iter().flat_map(|image| &image.layers).count() / 2;
        let popular: Vec<String> =
            workload.layers[..POPULAR].iter().map(|layer| payload::digest_of(layer)).collect();
        let taken =
            workload.images.iter().flat_map(|image| &image.layers).filter(|layer| popular.contains(layer));
        assert_eq!(taken.count(), half, "a tenth of the layers takes half of the requests");
    }
}
